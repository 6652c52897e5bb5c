// Package telemetry counts what the host does, for Prometheus, and sends metrics and traces
// to an OpenTelemetry collector if the environment says so.
//
// Metrics has a method for each event that the host counts, and reads what it has at the
// moment (plugins, sessions, checks) when it is scraped. HTTP metrics have the names of
// OpenTelemetry's semantic conventions 1.44 in Prometheus' spelling; the host's own begin
// with bulkhead_. No label holds a user, a path or an object's name, so the number of
// series depends on the configuration alone: its plugins, their routes and capabilities.
//
// Durations are native histograms with a resolution of 10 %, from a microsecond on, and
// beside them have a few classic buckets for servers that do not know native ones.
package telemetry
