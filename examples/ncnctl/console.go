package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// console is standard error: lines that stay, and below them lines that are drawn anew. It is safe for concurrent use.
type console struct {
	w io.Writer

	mu    sync.Mutex
	drawn []string
}

// Write writes above what is drawn.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	n, err := c.w.Write(p)
	c.paint()
	return n, err
}

// draw puts lines in the place of those drawn before.
func (c *console) draw(lines []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	c.drawn = lines
	c.paint()
}

// leave makes what is drawn stay.
func (c *console) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drawn = nil
}

func (c *console) erase() {
	if len(c.drawn) > 0 {
		fmt.Fprintf(c.w, "\x1b[%dF\x1b[J", len(c.drawn))
	}
}

func (c *console) paint() {
	if len(c.drawn) > 0 {
		fmt.Fprintln(c.w, strings.Join(c.drawn, "\n"))
	}
}
