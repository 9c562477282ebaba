package bss

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/ncnkit/lifecycle"
)

// maxDepth bounds the length of a dotted key; real ones have three parts.
const maxDepth = 32

// GetMeta returns what stands at a dotted key ("ntp.config.confpath") of e's meta-data.
func GetMeta(e Entry, dotted string) (any, bool) { return find(e.CloudInit.MetaData, dotted) }

// GetUser returns what stands at a dotted key of e's user-data.
func GetUser(e Entry, dotted string) (any, bool) { return find(e.CloudInit.UserData, dotted) }

// SetMeta sets a dotted key of e's meta-data, making the objects on the way. Keys that contain a dot, and elements of
// arrays, cannot be named; replace the whole array. Invalid: a bad key, a way that leads through something that is no
// object, and a value that JSON cannot hold or that contains null, which the service takes for "delete".
func SetMeta(e *Entry, dotted string, value any) error {
	return set("bss.SetMeta", &e.CloudInit.MetaData, dotted, value)
}

// SetUser sets a dotted key of e's user-data, as [SetMeta] does for meta-data.
func SetUser(e *Entry, dotted string, value any) error {
	return set("bss.SetUser", &e.CloudInit.UserData, dotted, value)
}

// DeleteMeta deletes a dotted key of e's meta-data; one that is not there is no error. A bad key is Invalid.
func DeleteMeta(e *Entry, dotted string) error {
	return remove("bss.DeleteMeta", e.CloudInit.MetaData, dotted)
}

// DeleteUser deletes a dotted key of e's user-data, as [DeleteMeta] does for meta-data.
func DeleteUser(e *Entry, dotted string) error {
	return remove("bss.DeleteUser", e.CloudInit.UserData, dotted)
}

func keys(op, dotted string) ([]string, error) {
	parts := strings.Split(dotted, ".")
	for _, part := range parts {
		if part == "" || len(parts) > maxDepth {
			return nil, lifecycle.Errorf(lifecycle.Invalid, op, "",
				"%q is no dotted key: want 1 to %d names with single dots between them", dotted, maxDepth)
		}
	}
	return parts, nil
}

func find(m map[string]any, dotted string) (any, bool) {
	parts, err := keys("", dotted)
	if err != nil {
		return nil, false
	}
	for _, part := range parts[:len(parts)-1] {
		m, _ = m[part].(map[string]any)
	}
	v, ok := m[parts[len(parts)-1]]
	return v, ok
}

func set(op string, root *map[string]any, dotted string, value any) error {
	parts, err := keys(op, dotted)
	if err != nil {
		return err
	}
	value, err = plain(value)
	if err != nil {
		return lifecycle.Errorf(lifecycle.Invalid, op, "", "the value of %s cannot be written as JSON: %w", dotted, err)
	}
	if hasNull(value) {
		return lifecycle.Errorf(lifecycle.Invalid, op, "", "the value of %s is or contains null, which deletes: leave the key out, or delete it", dotted)
	}
	last := len(parts) - 1
	// Nothing is made before the way is known to be free.
	m := *root
	for i, part := range parts[:last] {
		next, there := m[part]
		if _, object := next.(map[string]any); there && !object {
			return lifecycle.Errorf(lifecycle.Invalid, op, "", "%s is no object, so %s cannot be set in it",
				strings.Join(parts[:i+1], "."), dotted)
		}
		m, _ = next.(map[string]any)
	}
	if *root == nil {
		*root = map[string]any{}
	}
	m = *root
	for _, part := range parts[:last] {
		next, ok := m[part].(map[string]any)
		if !ok || next == nil {
			next = map[string]any{}
			m[part] = next
		}
		m = next
	}
	m[parts[last]] = value
	return nil
}

func remove(op string, m map[string]any, dotted string) error {
	parts, err := keys(op, dotted)
	if err != nil {
		return err
	}
	for _, part := range parts[:len(parts)-1] {
		m, _ = m[part].(map[string]any)
	}
	delete(m, parts[len(parts)-1])
	return nil
}

// plain returns v as decoding its JSON gives it: maps, slices, strings, booleans, nil, and numbers as text.
func plain(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var out any
	err = dec.Decode(&out)
	return out, err
}

// hasNull reports whether v is null or an object holding one at any depth. Arrays are replaced whole, so a null inside one
// is only a value.
func hasNull(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		for _, member := range v {
			if hasNull(member) {
				return true
			}
		}
	}
	return false
}
