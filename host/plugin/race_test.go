//go:build race

package plugin_test

// raceAllocations are further ones under the race detector, which makes pools drop objects.
const raceAllocations = 1
