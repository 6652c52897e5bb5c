package rewrite_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/tetratelabs/wazero/api"
)

// value is an argument or expected result in the JSON form of the
// specification's tests.
type value struct {
	Type  string          `json:"type"`
	Lane  string          `json:"lane_type"`
	Value json.RawMessage `json:"value"`
}

var widths = map[string]int{"i8": 8, "i16": 16, "i32": 32, "f32": 32, "i64": 64, "f64": 64}

// bits is the value as the engine takes it. open is true when any NaN, or any
// reference, will do.
func (v value) bits() (list []uint64, open bool) {
	if v.Type == "v128" && v.Value != nil {
		return v.lanes()
	}
	var s string
	if v.Value == nil || json.Unmarshal(v.Value, &s) != nil {
		return []uint64{0}, true
	}
	switch {
	case s == "null":
		return []uint64{0}, false
	case strings.Contains(s, "nan"):
		return []uint64{math.Float64bits(math.NaN())}, true
	case v.Type == "externref": // 0 is null to the engine
		n, _ := strconv.ParseUint(s, 10, 32)
		return []uint64{n + 1}, false
	}
	return []uint64{number(s, widths[v.Type])}, false
}

func number(s string, width int) uint64 {
	if strings.HasPrefix(s, "-") {
		n, _ := strconv.ParseInt(s, 10, 64)
		return uint64(n) & (1<<width - 1)
	}
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

func (v value) lanes() (list []uint64, open bool) {
	var lanes []string
	if err := json.Unmarshal(v.Value, &lanes); err != nil {
		panic(err)
	}
	list = make([]uint64, 2)
	width := widths[v.Lane]
	for i, s := range lanes {
		open = open || strings.Contains(s, "nan")
		list[i*width/64] |= number(s, width) << (i * width % 64)
	}
	return list, open
}

// meets reports whether results are the expected ones.
func meets(results []uint64, expected []value) bool {
	for _, v := range expected {
		want, open := v.bits()
		if v.Type == "v128" {
			want = append(want, 0)[:2]
		}
		if len(results) < len(want) {
			return false
		}
		for i := range want {
			if !open && results[i] != want[i] {
				return false
			}
		}
		if open && v.Type == "f64" && v.Value != nil && !math.IsNaN(math.Float64frombits(results[0])) ||
			open && v.Type == "f32" && v.Value != nil && !math.IsNaN(float64(math.Float32frombits(uint32(results[0])))) {
			return false
		}
		results = results[len(want):]
	}
	return len(results) == 0
}

// normal makes results comparable: upper halves of 32-bit values are undefined,
// and a function reference is an address.
func normal(results []uint64, types []api.ValueType) []uint64 {
	out := append([]uint64(nil), results...)
	at := 0
	for _, t := range types {
		switch t {
		case api.ValueTypeI32, api.ValueTypeF32:
			out[at] = uint64(uint32(out[at]))
		case 0x7b: // v128
			at++
		case 0x70: // funcref
			out[at] = min(out[at], 1)
		}
		at++
	}
	return out
}

func describe(results []uint64, err error) string {
	if err == nil {
		return fmt.Sprintf("%#x", results)
	}
	text, _, _ := strings.Cut(err.Error(), "\nwasm stack trace:")
	return text
}
