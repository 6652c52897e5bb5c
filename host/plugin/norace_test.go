//go:build !race

package plugin_test

const raceAllocations = 0
