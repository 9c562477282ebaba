package fakessh_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ncnkit/lifecycle"
	"github.com/ncnkit/lifecycle/fakes"
	"github.com/stretchr/testify/require"
)

// TestNothingReachesTheMachineUnderneath runs scripts that try to get out. The first in each pair is a real file or command
// of the machine that runs this test.
func TestNothingReachesTheMachineUnderneath(t *testing.T) {
	l := newLab(t, fakes.Layout{Workers: 1})
	outside := t.TempDir()
	canary := filepath.Join(outside, "canary")
	require.NoError(t, os.WriteFile(canary, []byte("real"), 0o755))
	mark := filepath.Join(outside, "mark")
	before, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)

	tests := map[string]struct {
		script string
		stdout string
		status int
	}{
		"read":                {"cat " + canary, "", 1},
		"passwd":              {"cat /etc/passwd", "", 1},
		"redirect in":         {"cat <" + canary, "", 1},
		"short redirect":      {"echo $(<" + canary + ")", "", 0},
		"redirect out":        {"echo x >" + mark, "", 1},
		"redirect out tmp":    {"echo x >/tmp/fakessh-canary; cat /tmp/fakessh-canary", "x\n", 0},
		"append":              {"echo x >>" + canary, "", 1},
		"exec redirect":       {"exec >" + mark + "; true", "", 0},
		"run":                 {canary, "", 127},
		"real command":        {"/usr/bin/touch " + mark, "", 127},
		"sh -c":               {"/bin/sh -c 'touch " + mark + "'", "", 64},
		"exec":                {"exec touch " + mark, "", 127},
		"exec sh":             {"exec /bin/bash " + canary, "", 127},
		"eval":                {"eval 'touch " + mark + "'", "", 127},
		"eval substitution":   {"eval 'cat <(touch " + mark + ")'", "", 127},
		"eval in eval":        {"eval \"eval 'cat <(touch x)'\"", "", 127},
		"eval out":            {"eval 'cat > >(cat)'", "", 127},
		"eval bash test":      {"eval '[[ -O / ]]'", "", 127},
		"substitution":        {"cat <(echo x)", "", 2},
		"trap":                {"trap 'cat <(touch " + mark + ")' EXIT", "", 127},
		"command":             {"command touch " + mark, "", 127},
		"command eval":        {"command command eval 'cat <(touch x)'", "", 127},
		"builtin":             {"builtin eval 'cat <(touch x)'", "", 127},
		"command -v":          {"command -v touch; command -v cat", "/usr/bin/cat\n", 0},
		"type":                {"type touch", "", 127},
		"source":              {". " + canary, "", 127},
		"source bash":         {"source " + canary, "", 127},
		"cd":                  {"cd " + outside + " || cd /root && pwd", "/root\n", 0},
		"cd dots":             {"cd /root/../../../etc && pwd && cat hostname", "/etc\nncn-w001\n", 0},
		"pwd -P":              {"pwd -P", "", 64},
		"glob":                {"echo " + outside + "/*", outside + "/*\n", 0},
		"glob world":          {"echo /etc/h*", "/etc/hostname\n", 0},
		"test":                {"[ -e " + canary + " ] || echo absent", "absent\n", 0},
		"test owner":          {"[ -O /etc/hostname ]", "", 127},
		"test writable":       {"[ -w " + canary + " ] || [ -x " + canary + " ] || echo no", "no\n", 0},
		"tilde":               {"echo ~", "/root\n", 0},
		"tilde of another":    {"echo ~daemon", "", 2},
		"environment":         {"echo \"$USER $HOME ${GOPATH-unset} ${LIFECYCLE_SHARED-unset}\"", "root /root unset unset\n", 0},
		"mapfile":             {"mapfile x", "", 127},
		"ulimit":              {"ulimit -a", "", 127},
		"alias":               {"alias x=touch", "", 127},
		"background":          {"touch " + mark + " & wait; cat " + canary + " & wait", "", 0},
		"pipe":                {"echo x | cat >" + mark, "", 1},
		"subshell":            {"(cat " + canary + ")", "", 1},
		"function over kill":  {"f() { cat " + canary + "; }; f", "", 1},
		"tar out":             {"tar --create --file=" + mark + " /", "", 64},
		"tar from outside":    {"tar --create --file=- --directory=/ --numeric-owner --sort=name -- " + strings.TrimPrefix(canary, "/"), strings.Repeat("\x00", 1024), 2},
		"newline in the name": {"cat '" + canary + "\n'", "", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res, err := l.run(t, tt.script)
			status := 0
			var exit *lifecycle.ExitError
			if errors.As(err, &exit) {
				status = exit.Status
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, tt.status, status, "stderr: %s", res.Stderr)
			require.Equal(t, tt.stdout, string(res.Stdout), "stderr: %s", res.Stderr)
			require.NotContains(t, string(res.Stdout)+string(res.Stderr), "real")
		})
	}
	left, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Len(t, left, 1, "a script wrote outside")
	text, err := os.ReadFile(canary)
	require.NoError(t, err)
	require.Equal(t, "real", string(text))
	after, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	for _, e := range after {
		require.False(t, strings.HasPrefix(e.Name(), "sh-interp-") || strings.HasPrefix(e.Name(), "fakessh-"), "%s in the real /tmp; before: %v", e.Name(), before)
	}
}

func TestShell(t *testing.T) {
	l := newLab(t, fakes.Layout{Workers: 1})
	tests := map[string]struct {
		script string
		args   []string
		stdout string
		status int
	}{
		"arguments are data":   {"IFS= read -r a; IFS= read -r b; printf '[%s]' \"$a\" \"$b\"; cat", []string{"; rm -rf /", `$(x) "q" 'p' \n *`, "rest"}, `[; rm -rf /][$(x) "q" 'p' \n *]` + "rest\n", 0},
		"status":               {"exit 7", nil, "", 7},
		"errexit":              {"set -e; false; echo not here", nil, "", 1},
		"syntax error":         {"if then", nil, "", 2},
		"unset variable":       {"set -u; echo $nothing; echo not here", nil, "", 1},
		"umask":                {"umask; umask 077; echo x >/tmp/f; mkdir /tmp/d; umask", nil, "0022\n0077\n", 0},
		"own pid lives":        {"kill -0 $$ && echo alive; kill -0 1 || echo none", nil, "alive\nnone\n", 0},
		"own pid in eval":      {`a=$$; eval 'b=$$'; [ "$a" = "$b" ] && echo same`, nil, "same\n", 0},
		"pid of a finished sh": {"echo 'echo $$' >/tmp/p; pid=$(sh /tmp/p); [ $pid != $$ ] && ! kill -0 $pid 2>/dev/null && echo gone", nil, "gone\n", 0},
		"sh has arguments":     {"printf 'echo \"$0|$1|$2|$#\"\\n' >/tmp/a; sh /tmp/a -x 'b c'", nil, "/tmp/a|-x|b c|2\n", 0},
		"sort tr grep":         {"printf 'b\\na\\nb\\n' | sort -u | tr '\\n' ' '; printf 'disk\\npart  \\nlvm\\n' | grep -v -e '^disk *$' -e '^part *$'; printf 'a b\\n' | tr -d ' \\n'", nil, "a b lvm\nab", 0},
		"mv and rm":            {"mkdir -p /tmp/x/y; echo 1 >/tmp/x/y/f; mv /tmp/x /tmp/z; cat /tmp/z/y/f; rm -rf /tmp/z; [ -e /tmp/z ] || echo gone", nil, "1\ngone\n", 0},
		"mkdir is a lock":      {"mkdir /tmp/l && echo first; mkdir /tmp/l 2>/dev/null || echo second", nil, "first\nsecond\n", 0},
		"escaped sum":          {"echo x >'/tmp/b\\s'; sum=$(sha256sum '/tmp/b\\s'); echo \"${sum%%[0-9a-f]*}\"; sha256sum </dev/null", nil, "\\\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  -\n", 0},
		"lsblk":                {"lsblk --noheadings --list --paths --output NAME /dev/sdc | sort -r; lsblk --noheadings --list --output TYPE /dev/sdc; lsblk --noheadings --list --output MOUNTPOINT /dev/sda1", nil, "/dev/sdc\n/dev/mapper/metalvg0-K8SLET\n/dev/mapper/metalvg0-CONRUN\n/dev/mapper/metalvg0-CONLIB\ndisk\nlvm\nlvm\nlvm\n\n/metal/recovery\n", 0},
		"wipefs refuses":       {"wipefs --all /dev/sdc 2>&1; wipefs --no-act /dev/sda", nil, "wipefs: error: /dev/sdc: probing initialization failed: Device or resource busy\nDEVICE OFFSET TYPE UUID LABEL\nsda    0x200  gpt\n", 0},
		"wipefs --force":       {"wipefs --all --force /dev/sdc", nil, "", 64},
		"drift":                {"lsblk --fs", nil, "", 64},
		"here-document":        {"cat <<'E'\n$x `y` $$\nE\n", nil, "$x `y` $$\n", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res, err := l.run(t, tt.script, tt.args...)
			status := 0
			var exit *lifecycle.ExitError
			if errors.As(err, &exit) {
				status = exit.Status
			} else {
				require.NoError(t, err)
			}
			require.Empty(t, cmp.Diff(tt.stdout, string(res.Stdout)), "stderr: %s", res.Stderr)
			require.Equal(t, tt.status, status, "stderr: %s", res.Stderr)
		})
	}
	f, err := l.world.Machine("ncn-w001").Stat("/tmp/f")
	require.NoError(t, err)
	require.Equal(t, "-rw-------", f.Mode.String())
	d, err := l.world.Machine("ncn-w001").Stat("/tmp/d")
	require.NoError(t, err)
	require.Equal(t, "drwx------", d.Mode.String())
}
