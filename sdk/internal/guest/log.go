package guest

import "strings"

// Levels are log/slog's numbers.
const (
	levelWarn  = 4
	levelError = 8
)

// MaxLog bounds one log message, in bytes. Longer messages are truncated.
const MaxLog = 8 << 10

// Log writes one message to the host's log.
func Log(level int32, text string) { write(level, Cut(text)) }

// Cut bounds the text of a log message.
func Cut(text string) string {
	if len(text) > MaxLog {
		text = strings.ToValidUTF8(text[:MaxLog], "")
	}
	return text
}
