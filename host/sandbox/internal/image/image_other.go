//go:build !linux

package image

import "errors"

type (
	mapping struct{}
	space   struct{}
)

var errPlatform = errors.New("image: not on this platform")

func native() bool                                  { return false }
func (*Image) mapFile([]byte) error                 { return errPlatform }
func newSpace(Kind, *Image, uint64) (*space, error) { return nil, errPlatform }
func (*mapping) close() error                       { return errPlatform }
func (*space) bytes(uint64) []byte                  { return nil }
func (*space) open(_, _ uint64) error               { return errPlatform }
func (*space) close() error                         { return errPlatform }
func (*space) restore([]byte, *Image) (int, error)  { return 0, errPlatform }

// Kernel reports that this platform offers neither.
func Kernel() (copyOnWrite, marks bool) { return false, false }
