package bss

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ncnkit/lifecycle"
)

// Params is a kernel command line that can be edited word by word. What is not edited stays byte for byte: order,
// repeated keys, bare flags, blanks. Words are split as the kernel splits them (lib/cmdline.c, next_arg): at white space
// outside double quotes; the first "=" ends the key.
//
// The zero Params is the empty command line. A copy is independent of its original. A Params is not safe for concurrent
// use while it is edited.
type Params struct {
	words []word
	tail  string // blanks after the last word
}

type word struct {
	lead string // blanks before it
	text string // as written, quotes included
}

const blanks = " \t\n\v\f\r"

// ParseParams splits a command line into words. It accepts everything; [Params.String] gives the input back.
func ParseParams(line string) Params {
	var p Params
	for line != "" {
		rest := strings.TrimLeft(line, blanks)
		lead := line[:len(line)-len(rest)]
		if rest == "" {
			p.tail = lead
			break
		}
		n := wordLen(rest)
		p.words = append(p.words, word{lead, rest[:n]})
		line = rest[n:]
	}
	return p
}

func wordLen(s string) int {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(blanks, s[i]) >= 0:
			return i
		}
	}
	return len(s)
}

// String returns the command line.
func (p Params) String() string {
	var b strings.Builder
	for _, w := range p.words {
		b.WriteString(w.lead)
		b.WriteString(w.text)
	}
	b.WriteString(p.tail)
	return b.String()
}

// split returns key and value without the quotes around them: a="b c" and "a=b c" mean the same to the kernel.
func (w word) split() (key, value string) {
	text := w.text
	if strings.HasPrefix(text, `"`) {
		text = strings.TrimSuffix(text[1:], `"`)
	}
	key, value, _ = strings.Cut(text, "=")
	if strings.HasPrefix(value, `"`) {
		value = strings.TrimSuffix(value[1:], `"`)
	}
	return key, value
}

func (w word) is(key string) bool {
	k, _ := w.split()
	return k == key
}

// Get returns the value of the last occurrence of key, which is the one that most readers of a command line obey. A bare
// flag has the value "".
func (p Params) Get(key string) (value string, ok bool) {
	all := p.All(key)
	if len(all) == 0 {
		return "", false
	}
	return all[len(all)-1], true
}

// All returns the values of every occurrence of key, in order.
func (p Params) All(key string) []string {
	var values []string
	for _, w := range p.words {
		if k, v := w.split(); k == key {
			values = append(values, v)
		}
	}
	return values
}

// Has reports whether key occurs, with a value or bare.
func (p Params) Has(key string) bool {
	return slices.ContainsFunc(p.words, func(w word) bool { return w.is(key) })
}

// Set makes key=value the one occurrence of key: in the place of the first, without the others, or at the end when there
// was none. The value may be quoted as a whole ("a b", quotes included); otherwise it has no blanks. What cannot stand on
// a command line is Invalid, and so is a line whose quotes do not match; p is unchanged then.
func (p *Params) Set(key, value string) error {
	if err := p.check("bss.Params.Set", key, value); err != nil {
		return err
	}
	first := slices.IndexFunc(p.words, func(w word) bool { return w.is(key) })
	if first < 0 {
		p.add(key + "=" + value)
		return nil
	}
	words := slices.Clone(p.words[:first+1])
	words[first].text = key + "=" + value
	for _, w := range p.words[first+1:] {
		if !w.is(key) {
			words = append(words, w)
		}
	}
	p.words = words
	return nil
}

// Add appends key=value, whether or not key occurs already. It refuses what [Params.Set] refuses.
func (p *Params) Add(key, value string) error {
	if err := p.check("bss.Params.Add", key, value); err != nil {
		return err
	}
	p.add(key + "=" + value)
	return nil
}

// AddFlag appends a bare key unless it occurs already. It refuses what [Params.Set] refuses.
func (p *Params) AddFlag(key string) error {
	if err := p.check("bss.Params.AddFlag", key, ""); err != nil {
		return err
	}
	if !p.Has(key) {
		p.add(key)
	}
	return nil
}

func (p *Params) add(text string) {
	lead := p.tail
	if lead == "" && len(p.words) > 0 {
		lead = " "
	}
	p.words = append(slices.Clip(p.words), word{lead, text})
	p.tail = ""
}

// Remove takes away every occurrence of key and reports whether there was one.
func (p *Params) Remove(key string) bool {
	var words []word
	for _, w := range p.words {
		if !w.is(key) {
			words = append(words, w)
		}
	}
	if len(words) == len(p.words) {
		return false
	}
	if len(words) > 0 {
		words[0].lead = p.words[0].lead // no blank where the line began with none
	}
	p.words = words
	return true
}

var paramKey = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:,@/+-]*$`)

func (p *Params) check(op, key, value string) error {
	switch {
	case !paramKey.MatchString(key):
		return lifecycle.Errorf(lifecycle.Invalid, op, "", "%q is no key for a kernel command line: want letters, digits and _.:,@/+-", key)
	case !plainValue(value):
		return lifecycle.Errorf(lifecycle.Invalid, op, "",
			"the value of %s does not fit on a kernel command line: no control characters, and blanks only inside one pair of double quotes", key)
	case !p.balanced():
		return lifecycle.Errorf(lifecycle.Invalid, op, "", "the command line ends inside a quoted word: repair it first")
	}
	return nil
}

func plainValue(value string) bool {
	inner, quoted := strings.CutPrefix(value, `"`)
	if quoted {
		var closed bool
		if inner, closed = strings.CutSuffix(inner, `"`); !closed {
			return false
		}
	}
	bad := func(r rune) bool {
		return r == '"' || r == utf8.RuneError || !unicode.IsPrint(r) || (r == ' ' && !quoted)
	}
	return !strings.ContainsFunc(inner, bad)
}

// balanced reports whether a word appended to the line would be one.
func (p *Params) balanced() bool {
	return len(p.words) == 0 || strings.Count(p.words[len(p.words)-1].text, `"`)%2 == 0
}
