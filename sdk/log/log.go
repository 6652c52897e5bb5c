// Package log writes to the host's log. The host adds the plugin's name, the
// request id and the user, bounds the rate, and decides which levels it keeps.
//
// A plugin's output to standard error goes to the log as well, including the trace of a
// panic. Do not log secrets: operators read the log.
package log

import (
	"fmt"
	"strconv"
	"strings"

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
// at 8 KiB. Safe for concurrent use, as are Info, Warn and Error.
func Debug(msg string, args ...any) { write(levelDebug, msg, args) }

// Info is Debug one level up.
func Info(msg string, args ...any) { write(levelInfo, msg, args) }

// Warn is Debug two levels up.
func Warn(msg string, args ...any) { write(levelWarn, msg, args) }

// Error is Debug three levels up.
func Error(msg string, args ...any) { write(levelError, msg, args) }

func write(level int32, msg string, args []any) { guest.Log(level, format(msg, args)) }

// format appends key=value pairs to msg. A key without a value is shown as in log/slog.
func format(msg string, args []any) string {
	if len(args) == 0 {
		return msg
	}
	var b strings.Builder
	b.WriteString(msg)
	for len(args) > 0 {
		key, ok := args[0].(string)
		if !ok || len(args) == 1 {
			pair(&b, "!BADKEY", args[0])
			args = args[1:]
			continue
		}
		pair(&b, key, args[1])
		args = args[2:]
	}
	return b.String()
}

func pair(b *strings.Builder, key string, value any) {
	b.WriteByte(' ')
	b.WriteString(quoted(key))
	b.WriteByte('=')
	b.WriteString(quoted(fmt.Sprint(value)))
}

// quoted quotes a value so that a pair stays one word and a message one line.
func quoted(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == '"' || r == '=' || !strconv.IsPrint(r)
	}) {
		return strconv.Quote(s)
	}
	return s
}
