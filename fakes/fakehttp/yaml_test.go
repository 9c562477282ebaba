package fakehttp_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/ncnkit/lifecycle/fakes/fakehttp"
)

func TestYAML(t *testing.T) {
	for _, tc := range []struct{ name, json, want string }{
		{"nothing", `{}`, "{}\n"},
		{"scalars", `{"a":null,"b":true,"c":1376,"d":1.5,"e":"text","f":""}`, "a: null\nb: true\nc: 1376\nd: 1.5\ne: text\nf: \"\"\n"},
		{"text that looks like something else", `{"a":"true","b":"12","c":"1:20","d":"2026-11-20","e":"~","f":"1e3","no":"x"}`,
			"a: \"true\"\nb: \"12\"\nc: \"1:20\"\nd: \"2026-11-20\"\ne: \"~\"\nf: \"1e3\"\n\"no\": x\n"},
		{"text that does not", `{"a":"10.252.1.7","b":"ncn-w001","c":"/srv/x -y","d":"a#b","e":"http://x:1/"}`,
			"a: 10.252.1.7\nb: ncn-w001\nc: /srv/x -y\nd: a#b\ne: http://x:1/\n"},
		{"text with a meaning", `{"a":"b: c","d":"# e","f":"it's: g","h":" i","j":"k:","l":"- m","n":"tab\there"}`,
			"a: 'b: c'\nd: '# e'\nf: 'it''s: g'\nh: ' i'\nj: 'k:'\nl: '- m'\n\"n\": \"tab\\there\"\n"},
		{"empty ones", `{"a":{},"b":[],"c":[{},[]]}`, "a: {}\nb: []\nc:\n- {}\n- []\n"},
		{"nested", `{"a":{"b":{"c":["x",{"d":1,"e":[2]},["y","z"]]}}}`,
			"a:\n  b:\n    c:\n    - x\n    - d: 1\n      e:\n      - 2\n    - - \"y\"\n      - z\n"},
		{"lines", `{"a":"one\ntwo\n","b":["x\n\ny"],"c":"end\n\n","d":" indented\n"}`,
			"a: |\n  one\n  two\nb:\n- |-\n  x\n\n  y\nc: |+\n  end\n\nd: \" indented\\n\"\n"},
	} {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(tc.json), &m))
		if diff := cmp.Diff(tc.want, fakehttp.ToYAML(m)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}
