//go:build !wasip1

package session

import "github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"

func next(buf []byte, timeoutMS uint32) int64    { return guest.Native.Next(buf, timeoutMS) }
func send(frame []byte) int32                    { return guest.Native.Send(frame) }
func closeWith(code uint32, reason []byte) int32 { return guest.Native.Close(code, reason) }
func splice(stream uint32) int32                 { return guest.Native.Splice(stream) }
