package bss

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ncnkit/lifecycle"
)

// diff returns the smallest patch that makes after of before, and the names of what it changes, in a fixed order. Values
// are not named: cloud-init data holds passwords. The error says what a patch cannot do.
func diff(host string, before, after Entry) (Patch, []string, error) {
	p := Patch{Host: host}
	var names []string
	switch {
	case !slices.Equal(before.Hosts, after.Hosts), !slices.Equal(before.MACs, after.MACs), !slices.Equal(before.NIDs, after.NIDs):
		return p, nil, invalid(host, "hosts, macs and nids select an entry; they cannot be patched: use Put")
	case before.CloudInit.PhoneHome != after.CloudInit.PhoneHome:
		return p, nil, invalid(host, "phone-home is what the node said of itself; it cannot be patched: use Put")
	}
	for _, f := range []struct {
		name          string
		before, after string
		to            *string
	}{
		{"params", before.Params, after.Params, &p.Params},
		{"kernel", before.Kernel, after.Kernel, &p.Kernel},
		{"initrd", before.Initrd, after.Initrd, &p.Initrd},
	} {
		if f.before == f.after {
			continue
		}
		if err := checkScalar(host, f.name, f.before, f.after); err != nil {
			return p, nil, err
		}
		*f.to = f.after
		names = append(names, f.name)
	}
	changed, err := diffCloudInit(host, &p, before.CloudInit, after.CloudInit)
	return p, append(names, changed...), err
}

func checkScalar(host, name, before, after string) error {
	// What was there already is not ours to judge: a node must stay disarmable.
	unfit := func(s string) bool { return !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) }
	switch {
	case after == "":
		return invalid(host, "the service cannot clear "+name+": an empty one is left alone; use Put")
	case unfit(after) && !unfit(before):
		return invalid(host, name+" has a control character or is no UTF-8, and would break the boot script")
	}
	return nil
}

func diffCloudInit(host string, p *Patch, before, after CloudInit) ([]string, error) {
	patch := map[string]any{}
	var names []string
	for _, part := range []struct {
		name          string
		before, after map[string]any
	}{
		{"meta-data", before.MetaData, after.MetaData},
		{"user-data", before.UserData, after.UserData},
	} {
		changed := map[string]any{}
		if bad := merge(part.name, part.before, part.after, changed, &names); bad != "" {
			return nil, invalid(host, "cloud-init "+bad+" would become null, which deletes: delete the key instead")
		}
		if len(changed) > 0 {
			patch[part.name] = changed
		}
	}
	if len(patch) == 0 {
		return nil, nil
	}
	raw, err := json.Marshal(patch)
	if err != nil {
		return nil, lifecycle.Errorf(lifecycle.Invalid, "bss.Update", host, "cloud-init cannot be written as JSON: %w", err)
	}
	p.CloudInit = raw
	return names, nil
}

// merge fills patch with the RFC 7386 merge patch from before to after. It returns the path of a value that such a patch
// cannot express, or "".
func merge(path string, before, after, patch map[string]any, names *[]string) (bad string) {
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, kept := after[key]; !kept {
			patch[key] = nil
			*names = append(*names, path+"."+key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		at := path + "." + key
		was, there := before[key]
		now := after[key]
		if there && equal(was, now) {
			continue
		}
		a, wasObject := was.(map[string]any)
		b, isObject := now.(map[string]any)
		if wasObject && isObject {
			sub := map[string]any{}
			if bad := merge(at, a, b, sub, names); bad != "" {
				return bad
			}
			patch[key] = sub
			continue
		}
		if hasNull(now) {
			return at
		}
		patch[key] = now
		*names = append(*names, at)
	}
	return ""
}

// equal compares two values of decoded JSON.
func equal(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		return ok && sameNumber(a, b)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, equal)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	}
	switch b.(type) {
	case json.Number, map[string]any, []any:
		return false
	}
	return a == b
}

// sameNumber allows for a service that writes 1.0 as 1, but not for one that rounds a large integer.
func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	x, errX := strconv.ParseFloat(string(a), 64)
	y, errY := strconv.ParseFloat(string(b), 64)
	return errX == nil && errY == nil && x == y && math.Abs(x) <= 1<<53
}

func invalid(host, reason string) error {
	return lifecycle.Errorf(lifecycle.Invalid, "bss.Update", host, "%s", reason)
}
