// Package audit records what has an effect, and delivers records to the operator's
// destinations: files, a server that accepts OPA's decision logs, an OpenTelemetry
// collector, a syslog server.
//
// A Trail records effects: the intent before, the outcome after. Its files are a chain in
// which each line has the hash of the line before, with signed checkpoints; Verify checks
// it, and a Store searches it. README.md is for operators.
//
// A Log is the delivery, which the decision log uses too. It owns the queues, the retries,
// the fallback, the behaviour while a queue is full, the erasing of values by a mask, and
// the formats of the destinations. A Record defines its content, and the Stream with which
// a Log is opened defines the names of its records.
//
// A file has one writer, so two Logs cannot share a file.
package audit
