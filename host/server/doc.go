// Package server puts the host together: it reads the configuration, builds of it one
// Runtime with what the other packages own, in the order of their levels, serves, and
// replaces the Runtime when the configuration changes. What is configured alike goes
// on undisturbed. At the end everything closes in the opposite order. The package
// decides nothing about a request itself.
package server
