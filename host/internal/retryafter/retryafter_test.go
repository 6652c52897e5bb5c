package retryafter

import (
	"net/http"
	"testing"
	"time"
)

func TestBothFormsOfRetryAfterAreRead(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "37": 37 * time.Second, "-1": 0, "1.5": 0, "soon": 0, " 5": 0,
		"4294967295":           Max,
		"99999999999999999999": 0,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(-time.Hour).Format(http.TimeFormat):       0,
		now.AddDate(1, 0, 0).Format(http.TimeFormat):      Max,
	} {
		if got := Parse(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
	for d, want := range map[time.Duration]int{0: 0, 1: 1, time.Second: 1, time.Second + 1: 2} {
		if got := Seconds(d); got != want {
			t.Errorf("%v: %d, want %d", d, got, want)
		}
	}
}
