//go:build !wasip1

package guest

import (
	"fmt"
	"os"
)

// Host represents the host outside wasm. Its methods are the imports of sdk/abi, with
// slices instead of pointers.
type Host interface {
	Fetch(capability string, req, resp []byte) int64
	Open(capability string, req, resp []byte) int64
	Take(buf []byte) int64
	Write(level int32, text string)
	Record(level int32, text string, attributes []byte)
	Next(buf []byte, timeoutMS uint32) int64
	Send(frame []byte) int32
	Close(code uint32, reason []byte) int32
	Splice(stream uint32) int32
}

// Native is the installed Host. Only sdktest sets it, around an entry.
var Native Host = absent{}

func take(buf []byte) int64          { return Native.Take(buf) }
func write(level int32, text string) { Native.Write(level, text) }

// absent is the Host of a program that is not run by sdktest.
type absent struct{}

func (absent) Fetch(capability string, _, _ []byte) int64 { panic(outside(capability)) }
func (absent) Open(capability string, _, _ []byte) int64  { panic(outside(capability)) }
func (absent) Take([]byte) int64                          { panic(outside("abi")) }
func (absent) Next([]byte, uint32) int64                  { panic(outside("session")) }
func (absent) Send([]byte) int32                          { panic(outside("session")) }
func (absent) Close(uint32, []byte) int32                 { panic(outside("session")) }
func (absent) Splice(uint32) int32                        { panic(outside("session")) }

func (absent) Write(level int32, text string) {
	fmt.Fprintf(os.Stderr, "level %d: %s\n", level, text)
}

func (a absent) Record(level int32, text string, _ []byte) { a.Write(level, text) }

func outside(module string) string {
	return "bulkhead: " + module + " was called outside a host; in tests, run the plugin under sdk/sdktest"
}
