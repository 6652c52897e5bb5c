package main

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/azure"
)

const (
	allGroups = "All" // as scope
	maxDays   = 366
	day       = "2006-01-02"
)

// What costs can be grouped by, under the names that requests use.
var groupings = map[string]string{
	"resourceGroup": "ResourceGroupName", "service": "ServiceName", "location": "ResourceLocation",
	"resourceType": "ResourceType", "meterCategory": "MeterCategory",
}

type costItem struct {
	Cost          float64 `json:"cost"`
	Currency      string  `json:"currency"`
	Date          string  `json:"date,omitempty"` // with granularity Daily
	ResourceGroup string  `json:"resourceGroup,omitempty"`
	Service       string  `json:"service,omitempty"`
	Location      string  `json:"location,omitempty"`
	ResourceType  string  `json:"resourceType,omitempty"`
	MeterCategory string  `json:"meterCategory,omitempty"`
}

type costTotal struct {
	Cost     float64 `json:"cost"`
	Currency string  `json:"currency"`
}

type costAnswer struct {
	Scope     string      `json:"scope"`
	Timeframe string      `json:"timeframe"`
	From      string      `json:"from,omitempty"`
	To        string      `json:"to,omitempty"`
	Totals    []costTotal `json:"totals"` // one for each currency
	Items     []costItem  `json:"items"`
	Truncated bool        `json:"truncated,omitempty"`
}

// actualCost answers what a resource group, or all that the person may see,
// cost in a time.
func actualCost(r *sdk.Request) (*sdk.Response, error) {
	q, err := costQuery(r)
	if err != nil {
		return nil, err
	}
	table, err := instanceOf(r).Costs(*q)
	if err != nil {
		return nil, err
	}
	items, err := costItems(table)
	if err != nil {
		return nil, err
	}
	scope := q.Group
	if scope == "" {
		scope = allGroups
	}
	return sdk.JSON(200, costAnswer{scope, q.Timeframe, q.From, q.To, totals(items), items, table.Truncated})
}

// costQuery reads the query. A number as timeframe is that many days until
// today.
func costQuery(r *sdk.Request) (*azure.CostQuery, error) {
	q := &azure.CostQuery{Timeframe: r.Query("timeframe"), From: r.Query("from"), To: r.Query("to")}
	if scope := r.Query("scope"); scope != "" && scope != allGroups {
		q.Group = scope
	}
	if n, err := strconv.Atoi(q.Timeframe); err == nil {
		if n < 1 || n > maxDays {
			return nil, sdk.Errorf(400, "timeframe must be from 1 to %d days", maxDays)
		}
		now := time.Now().UTC()
		q.Timeframe, q.From, q.To = "Custom", now.AddDate(0, 0, -n).Format(day), now.Format(day)
	}
	if q.Timeframe == "" {
		q.Timeframe = "MonthToDate"
	}
	switch r.Query("granularity") {
	case "", "None":
	case "Daily":
		q.Daily = true
	default:
		return nil, sdk.Errorf(400, "granularity is neither None nor Daily")
	}
	by := r.Values()["groupBy"]
	if len(by) == 0 {
		by = []string{"resourceGroup", "service"}
	}
	for _, name := range by {
		if groupings[name] == "" {
			return nil, sdk.Errorf(400, "groupBy must be one of location, meterCategory, resourceGroup, resourceType, service")
		}
		q.GroupBy = append(q.GroupBy, groupings[name])
	}
	if len(q.GroupBy) > 2 {
		return nil, sdk.Errorf(400, "costs are grouped by at most two things")
	}
	return q, nil
}

// costItems names the cells of the table.
func costItems(t *azure.CostTable) ([]costItem, error) {
	items := make([]costItem, 0, len(t.Rows))
	for _, row := range t.Rows {
		if len(row) != len(t.Columns) {
			return nil, sdk.Errorf(502, "Azure answered with a table of costs that has uneven rows")
		}
		var item costItem
		for k, cell := range row {
			var to any
			switch t.Columns[k].Name {
			case "Cost", "PreTaxCost":
				to = &item.Cost
			case "Currency":
				to = &item.Currency
			case "UsageDate":
				item.Date = usageDate(cell)
				continue
			case "ResourceGroupName", "ResourceGroup":
				to = &item.ResourceGroup
			case "ServiceName":
				to = &item.Service
			case "ResourceLocation":
				to = &item.Location
			case "ResourceType":
				to = &item.ResourceType
			case "MeterCategory":
				to = &item.MeterCategory
			default:
				continue
			}
			if err := json.Unmarshal(cell, to); err != nil {
				return nil, sdk.Errorf(502, "Azure answered with a cost that cannot be read")
			}
		}
		items = append(items, item)
	}
	return items, nil
}

// usageDate writes 20260131 as 2026-01-31.
func usageDate(cell json.RawMessage) string {
	s := strings.Trim(string(cell), `"`)
	if t, err := time.Parse("20060102", s); err == nil {
		return t.Format(day)
	}
	return s
}

func totals(items []costItem) []costTotal {
	out := []costTotal{}
	for _, item := range items {
		i := slices.IndexFunc(out, func(t costTotal) bool { return t.Currency == item.Currency })
		if i < 0 {
			i, out = len(out), append(out, costTotal{Currency: item.Currency})
		}
		out[i].Cost += item.Cost
	}
	return out
}
