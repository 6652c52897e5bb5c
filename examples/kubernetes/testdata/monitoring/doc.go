// Package monitoring has a real Prometheus scrape a host and evaluate every alert and panel
// of the chart, and a real OpenTelemetry collector take its traces and metrics. It is a
// module of its own, so that neither is among the host's dependencies.
package monitoring
