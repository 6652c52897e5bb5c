package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	cost "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/costmanagement/armcostmanagement/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/monitor/armmonitor"
)

// usage answers as the cost service does: a column for the cost, one for each
// grouping, one for the currency. Each service costs 10, 20, 30 in the resource
// groups.
func (i *inventory) usage(_ context.Context, scope string, q cost.QueryDefinition, _ *cost.QueryClientUsageOptions) (r azfake.Responder[cost.QueryClientUsageResponse], e azfake.ErrorResponder) {
	columns := []*cost.QueryColumn{{Name: to.Ptr("Cost"), Type: to.Ptr("Number")}}
	for _, g := range q.Dataset.Grouping {
		columns = append(columns, &cost.QueryColumn{Name: g.Name, Type: to.Ptr("String")})
	}
	columns = append(columns, &cost.QueryColumn{Name: to.Ptr("Currency"), Type: to.Ptr("String")})
	var rows [][]any
	at := map[string]int{} // rows by what they are grouped by
	for n, group := range groupNames {
		if !costs(scope, q.Dataset.Filter, group) {
			continue
		}
		for _, service := range []string{"Container Instances", "Virtual Machines"} {
			row := []any{float64(10 * (n + 1))}
			for _, g := range q.Dataset.Grouping {
				switch *g.Name {
				case "ResourceGroupName":
					row = append(row, group)
				case "ServiceName":
					row = append(row, service)
				default:
					row = append(row, "")
				}
			}
			key := fmt.Sprint(row[1:])
			if k, ok := at[key]; ok {
				rows[k][0] = rows[k][0].(float64) + row[0].(float64)
				continue
			}
			at[key] = len(rows)
			rows = append(rows, append(row, "EUR"))
		}
	}
	r.SetResponse(200, cost.QueryClientUsageResponse{QueryResult: cost.QueryResult{
		Name: to.Ptr("query"), Properties: &cost.QueryProperties{Columns: columns, Rows: rows},
	}}, nil)
	return r, e
}

func costs(scope string, filter *cost.QueryFilter, group string) bool {
	if _, in, ok := strings.Cut(scope, "/resourceGroups/"); ok {
		return strings.EqualFold(in, group)
	}
	if filter == nil || filter.Dimensions == nil {
		return true
	}
	for _, v := range filter.Dimensions.Values {
		if strings.EqualFold(*v, group) {
			return true
		}
	}
	return false
}

var metricUnits = map[string]armmonitor.MetricUnit{
	"CpuUsage": armmonitor.MetricUnitCount, "MemoryUsage": armmonitor.MetricUnitBytes,
	"NetworkBytesReceivedPerSecond": armmonitor.MetricUnitBytes,
}

func (i *inventory) listDefinitions(uri string, _ *armmonitor.MetricDefinitionsClientListOptions) (p azfake.PagerResponder[armmonitor.MetricDefinitionsClientListResponse]) {
	var list []*armmonitor.MetricDefinition
	for _, name := range []string{"CpuUsage", "MemoryUsage", "NetworkBytesReceivedPerSecond"} {
		list = append(list, &armmonitor.MetricDefinition{
			ID: to.Ptr("/" + uri + "/providers/microsoft.insights/metricdefinitions/" + name), Name: localized(name), Unit: to.Ptr(metricUnits[name]),
			Namespace: to.Ptr(groupType), DisplayDescription: to.Ptr("What " + name + " is."),
			PrimaryAggregationType:    to.Ptr(armmonitor.AggregationTypeAverage),
			SupportedAggregationTypes: []*armmonitor.AggregationType{to.Ptr(armmonitor.AggregationTypeAverage), to.Ptr(armmonitor.AggregationTypeMaximum)},
			MetricAvailabilities:      []*armmonitor.MetricAvailability{{TimeGrain: to.Ptr("PT1M"), Retention: to.Ptr("P93D")}},
		})
	}
	p.AddPage(200, armmonitor.MetricDefinitionsClientListResponse{MetricDefinitionCollection: armmonitor.MetricDefinitionCollection{Value: list}}, nil)
	return p
}

func localized(s string) *armmonitor.LocalizableString {
	return &armmonitor.LocalizableString{Value: to.Ptr(s), LocalizedValue: to.Ptr(s)}
}

func (i *inventory) metrics(_ context.Context, uri string, o *armmonitor.MetricsClientListOptions) (r azfake.Responder[armmonitor.MetricsClientListResponse], e azfake.ErrorResponder) {
	if o == nil || o.Metricnames == nil || o.Timespan == nil || o.Interval == nil {
		e.SetResponseError(400, "BadRequest")
		return r, e
	}
	from, _, _ := strings.Cut(*o.Timespan, "/")
	start, err := time.Parse(time.RFC3339, from)
	if err != nil {
		e.SetResponseError(400, "BadRequest")
		return r, e
	}
	var list []*armmonitor.Metric
	for name := range strings.SplitSeq(*o.Metricnames, ",") {
		unit, ok := metricUnits[name]
		if !ok {
			e.SetResponseError(400, "BadRequest")
			return r, e
		}
		var data []*armmonitor.MetricValue
		for n := range 5 {
			data = append(data, &armmonitor.MetricValue{TimeStamp: to.Ptr(start.Add(time.Duration(n) * time.Minute)), Average: to.Ptr(float64(n))})
		}
		data[3].Average = nil // a gap
		list = append(list, &armmonitor.Metric{
			ID: to.Ptr("/" + uri + "/providers/Microsoft.Insights/metrics/" + name), Name: localized(name), Unit: &unit,
			Type: to.Ptr("Microsoft.Insights/metrics"), ErrorCode: to.Ptr("Success"),
			Timeseries: []*armmonitor.TimeSeriesElement{{Data: data}},
		})
	}
	r.SetResponse(200, armmonitor.MetricsClientListResponse{Response: armmonitor.Response{
		Timespan: o.Timespan, Interval: o.Interval, Value: list, Cost: to.Ptr[int32](1), Resourceregion: to.Ptr("westeurope"),
	}}, nil)
	return r, e
}
