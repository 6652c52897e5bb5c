package helm

import (
	"encoding/json"
	"math"
	"strconv"
)

// leastExact is the least number that a template would print with an exponent
// if it were a float64, which is what helm makes of every number.
const leastExact = 1_000_000

// plain is v with numbers as templates need them. A whole number that a template
// prints as it was given is a float64, as with helm, since charts compare values
// with floats; a larger one stays an integer. It changes v.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case int64:
		if -leastExact < v && v < leastExact {
			return float64(v)
		}
	case json.Number:
		return plain(fromJSON(v))
	}
	return v
}

// fromJSON is n as an int64 or uint64 if it is whole and fits, else a float64.
// One that is larger than any float64 is the largest.
func fromJSON(n json.Number) any {
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return i
	}
	if u, err := strconv.ParseUint(string(n), 10, 64); err == nil {
		return u
	}
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil {
		return math.Copysign(math.MaxFloat64, f)
	}
	return f
}
