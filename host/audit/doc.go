// Package audit delivers records of what the host decided to where operators
// keep them: a file that is rotated, a server that takes OPA's decision logs, an
// OpenTelemetry collector.
//
// It owns the queues, the retries, what happens while a queue is full, the
// erasing of fields by a mask, and the formats of the destinations. What a record
// says is up to its Record; what the records of one kind are called is up to the
// Stream that a Log is opened with. Each kind has a Log of its own.
//
// A file has one writer, so two Logs cannot share one.
package audit
