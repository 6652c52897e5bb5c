// Package log writes to the host's log. The host adds the plugin's name, the
// request id and the user, bounds the rate, and decides which levels it keeps.
// Attributes are attributes in the host's log too, in the group "attributes".
//
// A plugin's output to standard error goes to the log as well, including the trace of a
// panic. Do not log secrets: operators read the log. NewHandler is for log/slog.
package log

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
)

// Levels are those of log/slog.
const (
	levelDebug = -4
	levelInfo  = 0
	levelWarn  = 4
	levelError = 8
)

// Debug logs msg and args, which alternate between keys and values. A message is truncated
// at 8 KiB, and so are its attributes; more than 32 are left out. Safe for concurrent use, as
// are Info, Warn and Error.
func Debug(msg string, args ...any) { write(levelDebug, msg, pairs(args)) }

// Info is Debug one level up.
func Info(msg string, args ...any) { write(levelInfo, msg, pairs(args)) }

// Warn is Debug two levels up.
func Warn(msg string, args ...any) { write(levelWarn, msg, pairs(args)) }

// Error is Debug three levels up.
func Error(msg string, args ...any) { write(levelError, msg, pairs(args)) }

func write(level int32, msg string, attributes []abi.Pair) {
	if len(attributes) == 0 {
		guest.Log(level, msg)
		return
	}
	record(level, guest.Cut(msg), abi.AppendAttributes(nil, attributes))
}

// pairs makes attributes of args. A key without a value is shown as in log/slog.
func pairs(args []any) (list []abi.Pair) {
	for len(args) > 0 {
		key, ok := args[0].(string)
		if !ok || len(args) == 1 {
			list = append(list, abi.Pair{Name: "!BADKEY", Value: fmt.Sprint(args[0])})
			args = args[1:]
			continue
		}
		list = append(list, abi.Pair{Name: key, Value: fmt.Sprint(args[1])})
		args = args[2:]
	}
	return list
}
