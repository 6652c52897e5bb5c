package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/azure"
)

// grains are the intervals for spans up to so many hours, so that a graph has
// some hundreds of points.
var grains = []struct {
	hours    int
	interval string
}{
	{6, "PT1M"}, {24, "PT5M"}, {3 * 24, "PT15M"}, {7 * 24, "PT30M"}, {14 * 24, "PT1H"}, {31 * 24, "PT6H"}, {62 * 24, "PT12H"},
}

func intervalOf(span time.Duration) string {
	for _, g := range grains {
		if span <= time.Duration(g.hours)*time.Hour {
			return g.interval
		}
	}
	return "P1D"
}

// providerOf reads the resource that a query names as provider, such as
// Microsoft.ContainerInstance/containerGroups/web.
func providerOf(r *sdk.Request) (azure.Resource, error) {
	parts := strings.Split(r.Query("provider"), "/")
	if len(parts) != 3 {
		return azure.Resource{}, sdk.Errorf(400, "provider is not NAMESPACE/TYPE/NAME")
	}
	return azure.Resource{Group: r.Query("resourceGroup"), Type: azure.Type(parts[0] + "/" + parts[1]), Name: parts[2]}, nil
}

type localized struct {
	Value string `json:"value"`
	Text  string `json:"localizedValue"`
}

type armDefinition struct {
	Name         localized   `json:"name"`
	Unit         string      `json:"unit"`
	Description  string      `json:"displayDescription"`
	Primary      string      `json:"primaryAggregationType"`
	Supported    []string    `json:"supportedAggregationTypes"`
	Dimensions   []localized `json:"dimensions"`
	Availability []struct {
		Grain     string `json:"timeGrain"`
		Retention string `json:"retention"`
	} `json:"metricAvailabilities"`
}

type shownDefinition struct {
	Name         string   `json:"name"`
	Text         string   `json:"displayName"`
	Unit         string   `json:"unit"`
	Description  string   `json:"description,omitempty"`
	Aggregation  string   `json:"aggregation"` // the usual one
	Aggregations []string `json:"aggregations"`
	Dimensions   []string `json:"dimensions,omitempty"`
	Intervals    []string `json:"intervals"`
}

type definitionList struct {
	Definitions []shownDefinition `json:"definitions"`
	partial
}

func metricDefinitions(r *sdk.Request) (*sdk.Response, error) {
	resource, err := providerOf(r)
	if err != nil {
		return nil, err
	}
	var list azure.List[armDefinition]
	if err := instanceOf(r).MetricDefinitions(resource, &list); err != nil {
		return nil, err
	}
	return sdk.JSON(200, definitionList{each(list.Value, func(d *armDefinition) shownDefinition {
		out := shownDefinition{Name: d.Name.Value, Text: d.Name.Text, Unit: d.Unit, Description: d.Description, Aggregation: d.Primary, Aggregations: d.Supported}
		for _, a := range d.Availability {
			out.Intervals = append(out.Intervals, a.Grain)
		}
		for _, dim := range d.Dimensions {
			out.Dimensions = append(out.Dimensions, dim.Value)
		}
		return out
	}), partial{list.Errors, list.Truncated}})
}

// value is one of a metric: by the aggregation that was asked for.
type value struct {
	Time    string   `json:"timeStamp"`
	Average *float64 `json:"average"`
	Count   *float64 `json:"count"`
	Maximum *float64 `json:"maximum"`
	Minimum *float64 `json:"minimum"`
	Total   *float64 `json:"total"`
}

func (v *value) of(aggregation string) *float64 {
	switch aggregation {
	case "Count":
		return v.Count
	case "Maximum":
		return v.Maximum
	case "Minimum":
		return v.Minimum
	case "Total":
		return v.Total
	}
	return v.Average
}

type armMetric struct {
	Name         localized `json:"name"`
	Unit         string    `json:"unit"`
	ErrorCode    string    `json:"errorCode"`
	ErrorMessage string    `json:"errorMessage"`
	Series       []struct {
		Labels []struct {
			Name  localized `json:"name"`
			Value string    `json:"value"`
		} `json:"metadatavalues"`
		Data []value `json:"data"`
	} `json:"timeseries"`
}

type shownMetric struct {
	Name   string        `json:"name"`
	Text   string        `json:"displayName"`
	Unit   string        `json:"unit"`
	Error  string        `json:"error,omitempty"`
	Series []shownSeries `json:"series"`
}

type shownSeries struct {
	Labels map[string]string `json:"labels,omitempty"`
	Points []point           `json:"points"`
}

// point has no value where there is a gap.
type point struct {
	Time  string   `json:"time"`
	Value *float64 `json:"value"`
}

type armMetrics struct {
	Timespan string      `json:"timespan"`
	Interval string      `json:"interval"`
	Value    []armMetric `json:"value"`
}

type metricsAnswer struct {
	From        string        `json:"from"`
	To          string        `json:"to"`
	Interval    string        `json:"interval"`
	Aggregation string        `json:"aggregation"`
	Metrics     []shownMetric `json:"metrics"`
}

func metrics(r *sdk.Request) (*sdk.Response, error) {
	resource, err := providerOf(r)
	if err != nil {
		return nil, err
	}
	q, err := metricQuery(r)
	if err != nil {
		return nil, err
	}
	var got armMetrics
	if err := instanceOf(r).Metrics(resource, *q, &got); err != nil {
		return nil, err
	}
	return sdk.JSON(200, metricsAnswer{
		q.From.UTC().Format(time.RFC3339), q.To.UTC().Format(time.RFC3339), got.Interval, q.Aggregations[0],
		each(got.Value, func(m *armMetric) shownMetric { return m.shown(q.Aggregations[0]) }),
	})
}

func (m *armMetric) shown(aggregation string) shownMetric {
	out := shownMetric{Name: m.Name.Value, Text: m.Name.Text, Unit: m.Unit, Series: []shownSeries{}}
	if m.ErrorCode != "" && m.ErrorCode != "Success" {
		out.Error = m.ErrorCode + ": " + m.ErrorMessage
	}
	for _, s := range m.Series {
		series := shownSeries{Points: each(s.Data, func(v *value) point { return point{v.Time, v.of(aggregation)} })}
		for _, l := range s.Labels {
			if series.Labels == nil {
				series.Labels = map[string]string{}
			}
			series.Labels[l.Name.Value] = l.Value
		}
		out.Series = append(out.Series, series)
	}
	return out
}

var aggregations = []string{"Average", "Count", "Maximum", "Minimum", "Total"}

func metricQuery(r *sdk.Request) (*azure.MetricQuery, error) {
	q := &azure.MetricQuery{Aggregations: []string{"Average"}, Interval: r.Query("interval")}
	for _, list := range r.Values()["metricNames"] {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name != "" {
				q.Names = append(q.Names, name)
			}
		}
	}
	if len(q.Names) == 0 {
		return nil, sdk.Errorf(400, "metricNames is required")
	}
	if a := r.Query("aggregationType"); a != "" {
		if !slices.Contains(aggregations, a) {
			return nil, sdk.Errorf(400, "aggregationType must be one of %s", strings.Join(aggregations, ", "))
		}
		q.Aggregations[0] = a
	}
	var err error
	if q.From, err = timeOf(r, "timeStart"); err != nil {
		return nil, err
	}
	if q.To, err = timeOf(r, "timeEnd"); err != nil {
		return nil, err
	}
	if !q.From.Before(q.To) {
		return nil, sdk.Errorf(400, "timeStart is not before timeEnd")
	}
	if q.Interval == "" {
		q.Interval = intervalOf(q.To.Sub(q.From))
	}
	return q, nil
}

// timeOf reads a time: seconds since 1970, or RFC 3339.
func timeOf(r *sdk.Request, key string) (time.Time, error) {
	s := r.Query(key)
	if s == "" {
		return time.Time{}, sdk.Errorf(400, "%s is required", key)
	}
	const latest = 1 << 34 // seconds; the year 2514
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 && n < latest {
		return time.Unix(n, 0), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, sdk.Errorf(400, "%s is neither seconds since 1970 nor a time of RFC 3339", key)
	}
	return t, nil
}
