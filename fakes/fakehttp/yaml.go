package fakehttp

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// toYAML writes what was decoded from JSON as block-style YAML 1.1 in the manner of go-yaml version 2: sorted keys, lists
// not indented, text of several lines as a literal.
func toYAML(m map[string]any) string {
	var b strings.Builder
	if len(m) == 0 {
		return "{}\n"
	}
	writeObject(&b, m, "")
	return b.String()
}

func writeObject(b *strings.Builder, m map[string]any, indent string) {
	for i, key := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b.WriteString(indent)
		}
		b.WriteString(scalar(key, ""))
		b.WriteByte(':')
		writeMember(b, m[key], indent)
	}
}

// writeMember writes a value behind "key:".
func writeMember(b *strings.Builder, v any, indent string) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) > 0 {
			b.WriteString("\n" + indent + "  ")
			writeObject(b, v, indent+"  ")
			return
		}
	case []any:
		if len(v) > 0 {
			b.WriteString("\n" + indent)
			writeList(b, v, indent)
			return
		}
	}
	b.WriteString(" " + scalar(v, indent+"  ") + "\n")
}

func writeList(b *strings.Builder, list []any, indent string) {
	for i, v := range list {
		if i > 0 {
			b.WriteString(indent)
		}
		b.WriteString("- ")
		switch v := v.(type) {
		case map[string]any:
			if len(v) > 0 {
				writeObject(b, v, indent+"  ")
				continue
			}
		case []any:
			if len(v) > 0 {
				writeList(b, v, indent+"  ")
				continue
			}
		}
		b.WriteString(scalar(v, indent+"  ") + "\n")
	}
}

// scalar returns a value that takes one line, or a literal whose further lines are indented.
func scalar(v any, indent string) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case map[string]any:
		return "{}"
	case []any:
		return "[]"
	case string:
		switch {
		case indent != "" && literal(v):
			return writeLiteral(v, indent)
		case otherType.MatchString(v) || strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }):
			return strconv.Quote(v) // Go's escapes are YAML's too
		case !plain(v):
			return "'" + strings.ReplaceAll(v, "'", "''") + "'"
		}
		return v
	}
	return "null"
}

// otherType matches text that would be read as null, a boolean, a number or a date (YAML 1.1, tag repository).
var otherType = regexp.MustCompile(`^(?:|~|(?i:null|true|false|yes|no|on|off|y|n)|<<|=|` +
	`[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*(?::[0-5]?[0-9])*|[0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9_]+[eE][-+]?[0-9]+)|` +
	`[-+]?\.(?i:inf|nan)|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?)$`)

// plain reports whether text can stand without quotes.
func plain(s string) bool {
	return !strings.ContainsAny(s[:1], "-?:,[]{}#&*!|>'\"%@` ") && !strings.Contains(s, ": ") && !strings.Contains(s, " #") &&
		!strings.HasSuffix(s, ":") && !strings.HasSuffix(s, " ")
}

// literal reports whether text has several lines and can stand as it is.
func literal(s string) bool {
	if !strings.Contains(s, "\n") || strings.HasPrefix(s, " ") || strings.HasPrefix(s, "\n") || strings.TrimRight(s, "\n") == "" {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) })
}

func writeLiteral(s, indent string) string {
	body := strings.TrimRight(s, "\n")
	mark := "|-"
	switch ends := len(s) - len(body); {
	case ends == 1:
		mark = "|"
	case ends > 1:
		mark = "|+"
	}
	var b strings.Builder
	b.WriteString(mark)
	for _, line := range strings.Split(body, "\n") {
		b.WriteByte('\n')
		if line != "" {
			b.WriteString(indent + line)
		}
	}
	if mark == "|+" {
		b.WriteString(strings.Repeat("\n", len(s)-len(body)-1))
	}
	return b.String()
}
