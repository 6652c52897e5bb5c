// Package server puts the host together: it reads the configuration, opens
// what the other packages own in the order of their levels, hands each to the
// next by value, serves, and ends everything in the opposite order. It decides
// nothing about a request itself.
package server
