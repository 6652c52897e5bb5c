package helm

import (
	"encoding/json"
	"math"
	"strconv"
)

// leastExact is the smallest number that a template prints with an exponent if it is a
// float64, as every number is in helm.
const leastExact = 1_000_000

// plain converts the numbers in v for templates. A whole number that a template prints
// unchanged becomes a float64, as in helm, since charts compare values with floats; a
// larger one stays an integer. It modifies v.
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

// fromJSON returns n as an int64 or uint64 if it is whole and fits, else as a float64. A
// number beyond the range of float64 becomes the largest one.
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
