package fakes

import "context"

// Context returns the context of the call, or nil when the call was not made by one: a hook tells by it on whose behalf
// the call is, and when its caller stops waiting.
func (c Call) Context() context.Context { return c.ctx }
