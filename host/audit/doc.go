// Package audit delivers records of the host's decisions to the operator's destinations: a
// file that is rotated, a server that accepts OPA's decision logs, an OpenTelemetry
// collector.
//
// It owns the queues, the retries, the behaviour while a queue is full, the erasing of
// values by a mask, and the formats of the destinations. A Record defines its content, and
// the Stream with which a Log is opened defines the names of its records. Each kind of
// record has its own Log.
//
// A file has one writer, so two Logs cannot share a file.
package audit
