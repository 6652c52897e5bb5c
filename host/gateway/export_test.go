package gateway

import "time"

// What tests of the whole surface read and set.
const (
	MaxHeader          = maxHeader
	MaxURL             = maxURL
	WriteAnswerTimeout = writeAnswerTimeout
)

// SetBodyTimeout sets how long a body may take to arrive, and returns what it was.
func (g *Gateway) SetBodyTimeout(d time.Duration) (before time.Duration) {
	before, g.bodyTimeout = g.bodyTimeout, d
	return before
}
