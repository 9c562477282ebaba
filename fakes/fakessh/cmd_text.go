package fakessh

import (
	"bytes"
	"crypto/sha256"
	"io"
	"regexp"
	"slices"
	"strings"
)

// cat is `cat [FILE]...`.
func cat(c *invocation) int {
	_, files, ok := c.flags()
	if !ok {
		return c.drift()
	}
	if len(files) == 0 {
		_, _ = io.Copy(c.out, c.in)
		return 0
	}
	status := 0
	for _, name := range files {
		data, err := c.sh.m.ReadFile(c.path(name))
		if err != nil {
			status = c.fail(1, "%s: %s", name, reason(err))
			continue
		}
		_, _ = c.out.Write(data)
	}
	return status
}

// lines reads all of standard input as lines without their ends.
func (c *invocation) lines() []string {
	data, _ := io.ReadAll(c.in)
	return splitLines(data)
}

func splitLines(data []byte) []string {
	text := strings.TrimSuffix(string(data), "\n")
	if text == "" && len(data) == 0 {
		return nil
	}
	return strings.Split(text, "\n")
}

// sortLines is `sort [-u] [-r]` in the C locale.
func sortLines(c *invocation) int {
	set, files, ok := c.flags("-u", "-r")
	if !ok || len(files) > 0 {
		return c.drift()
	}
	lines := c.lines()
	slices.Sort(lines)
	if set["-u"] {
		lines = slices.Compact(lines)
	}
	if set["-r"] {
		slices.Reverse(lines)
	}
	for _, line := range lines {
		c.printf("%s\n", line)
	}
	return 0
}

// tr is `tr -d SET` and `tr SET1 SET2`, with sets of single characters and the escapes \n, \t and \\.
func tr(c *invocation) int {
	unescape := strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`)
	if len(c.args) != 2 || strings.ContainsAny(c.args[1], "[]-") {
		return c.drift()
	}
	data, _ := io.ReadAll(c.in)
	if c.args[0] == "-d" {
		set := unescape.Replace(c.args[1])
		_, _ = c.out.Write(bytes.Map(func(r rune) rune {
			if strings.ContainsRune(set, r) {
				return -1
			}
			return r
		}, data))
		return 0
	}
	from, to := unescape.Replace(c.args[0]), unescape.Replace(c.args[1])
	if strings.ContainsAny(c.args[0], "[]-") || from == "" || to == "" {
		return c.drift()
	}
	for i, b := range data {
		if at := strings.IndexByte(from, b); at >= 0 {
			data[i] = to[min(at, len(to)-1)]
		}
	}
	_, _ = c.out.Write(data)
	return 0
}

// grep is `grep [-q] [-v] [-e PATTERN]... [PATTERN] [FILE]`.
func grep(c *invocation) int {
	var patterns []string
	quiet, invert, given := false, false, false
	args := c.args
options:
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch {
		case args[0] == "-q":
			quiet = true
		case args[0] == "-v":
			invert = true
		case args[0] == "-e" && len(args) > 1:
			patterns, given, args = append(patterns, args[1]), true, args[1:]
		case args[0] == "--":
			args = args[1:]
			break options
		default:
			return c.drift()
		}
		args = args[1:]
	}
	if !given {
		if len(args) == 0 {
			return c.drift()
		}
		patterns, args = args[:1], args[1:]
	}
	var res []*regexp.Regexp
	for _, pattern := range patterns {
		re, ok := basicRegexp(pattern)
		if !ok {
			return c.drift()
		}
		res = append(res, re)
	}
	lines, status := c.grepLines(args)
	if status != 0 {
		return status
	}
	found := false
	for _, line := range lines {
		if slices.ContainsFunc(res, func(re *regexp.Regexp) bool { return re.MatchString(line) }) == invert {
			continue
		}
		found = true
		if !quiet {
			c.printf("%s\n", line)
		}
	}
	if found {
		return 0
	}
	return 1
}

func (c *invocation) grepLines(files []string) ([]string, int) {
	switch len(files) {
	case 0:
		return c.lines(), 0
	case 1:
		data, err := c.sh.m.ReadFile(c.path(files[0]))
		if err != nil {
			return nil, c.fail(2, "%s: %s", files[0], reason(err))
		}
		return splitLines(data), 0
	}
	return nil, c.drift()
}

// basicRegexp translates a basic regular expression (POSIX, XBD 9.3) without groups, intervals and classes.
func basicRegexp(pattern string) (*regexp.Regexp, bool) {
	var out strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch b := pattern[i]; b {
		case '.', '*':
			out.WriteByte(b)
		case '^', '$':
			if b == '^' && i > 0 || b == '$' && i < len(pattern)-1 {
				out.WriteByte('\\')
			}
			out.WriteByte(b)
		case '[':
			return nil, false
		case '\\':
			i++
			if i == len(pattern) || !strings.ContainsRune(`.*^$[]\/`, rune(pattern[i])) {
				return nil, false
			}
			out.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		default:
			out.WriteString(regexp.QuoteMeta(string([]byte{b})))
		}
	}
	re, err := regexp.Compile(out.String())
	return re, err == nil
}

// sha256sum is `sha256sum [FILE]...` (coreutils 9.1): a name with a backslash or newline is escaped, and the line begins
// with a backslash then.
func sha256sum(c *invocation) int {
	_, files, ok := c.flags()
	if !ok {
		return c.drift()
	}
	if len(files) == 0 {
		h := sha256.New()
		_, _ = io.Copy(h, c.in)
		c.printf("%x  -\n", h.Sum(nil))
		return 0
	}
	escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)
	status := 0
	for _, name := range files {
		data, err := c.sh.m.ReadFile(c.path(name))
		if err != nil {
			status = c.fail(1, "%s: %s", name, reason(err))
			continue
		}
		mark, shown := "", escape.Replace(name)
		if shown != name {
			mark = `\`
		}
		c.printf("%s%x  %s\n", mark, sha256.Sum256(data), shown)
	}
	return status
}
