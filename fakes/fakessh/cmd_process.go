package fakessh

import (
	"strconv"
	"strings"
	"time"

	"mvdan.cc/sh/v3/interp"
)

// setsid is `setsid sh FILE [ARG]...`. As the real one in a script, it does not fork: the background job is the program.
// What it starts outlives the session, as every process here does, and ends with the boot.
func setsid(c *invocation) int {
	if len(c.args) < 2 || c.args[0] != "sh" {
		return c.drift()
	}
	inner := *c
	inner.name, inner.args = "sh", c.args[1:]
	return shFile(&inner)
}

// shFile is `sh FILE [ARG]...`.
func shFile(c *invocation) int {
	if len(c.args) == 0 || strings.HasPrefix(c.args[0], "-") {
		return c.drift()
	}
	text, err := c.sh.m.ReadFile(c.path(c.args[0]))
	if err != nil {
		return c.fail(2, "0: cannot open %s: %s", c.args[0], reason(err))
	}
	release, ok := c.sh.s.hold()
	if !ok {
		return 128 + 15
	}
	defer release()
	child := c.sh.child()
	defer child.end()
	return child.run(program{name: c.args[0], text: string(text), args: c.args[1:]}, streams{in: c.stdin, out: c.out, err: c.err})
}

// kill is `kill -0 PID`.
func kill(c *invocation) int {
	if len(c.args) != 2 || c.args[0] != "-0" {
		return c.drift()
	}
	pid, err := strconv.Atoi(c.args[1])
	if err != nil {
		return c.fail(2, "Illegal number: %s", c.args[1])
	}
	if !c.sh.s.procs.alive(c.sh.m, pid) {
		return c.fail(1, "No such process")
	}
	return 0
}

// sleep is `sleep SECONDS`.
func sleep(c *invocation) int {
	if len(c.args) != 1 {
		return c.drift()
	}
	seconds, err := strconv.ParseFloat(c.args[0], 64)
	if err != nil || seconds < 0 {
		return c.fail(1, "invalid time interval '%s'", c.args[0])
	}
	c.sh.s.cfg.Sleep(c.ctx, time.Duration(seconds*float64(time.Second)))
	return 0
}

// hostname is `hostname`.
func hostname(c *invocation) int {
	if len(c.args) != 0 {
		return c.drift()
	}
	name, err := c.sh.m.ReadFile("/etc/hostname")
	if err != nil {
		return c.fail(1, "%s", reason(err))
	}
	c.printf("%s\n", strings.TrimSpace(string(name)))
	return 0
}

// pwd is `pwd`.
func pwd(c *invocation) int {
	if len(c.args) != 0 {
		return c.drift()
	}
	c.printf("%s\n", c.dir)
	return 0
}

// umask is `umask` and `umask MODE` with an octal mode.
func umask(c *invocation) int {
	if len(c.args) == 0 {
		c.printf("%04o\n", c.sh.umask.Load())
		return 0
	}
	mode, err := strconv.ParseUint(c.args[0], 8, 12)
	if err != nil || len(c.args) > 1 {
		return c.drift()
	}
	c.sh.umask.Store(uint32(mode))
	return 0
}

// which is `command -v NAME`.
func which(c *invocation) int {
	if len(c.args) != 2 || c.args[0] != "-v" {
		return c.drift()
	}
	name := c.args[1]
	switch {
	case name == "kill" || name == "pwd" || name == "umask" || name == "printf" || name == "read":
		c.printf("%s\n", name)
	case command(name) != nil && !interp.IsBuiltin(name):
		c.printf("/usr/bin/%s\n", name)
	default:
		return 127
	}
	return 0
}
