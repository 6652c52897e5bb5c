package kube

import "time"

// NoPauses makes a watch try again at once, and returns what undoes that.
func NoPauses() (undo func()) {
	before := sleep
	sleep = func(time.Duration) {}
	return func() { sleep = before }
}
