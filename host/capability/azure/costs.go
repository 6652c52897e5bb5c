package azure

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

const (
	maxCostGroups = 200 // resource groups in one query
	maxCostDays   = 366
	maxCostRows   = 20_000
	day           = "2006-01-02"
)

var (
	timeframes    = []string{"MonthToDate", "WeekToDate", "BillingMonthToDate", "TheLastMonth", "TheLastBillingMonth", "Custom"}
	granularities = []string{"None", "Daily"}
	costGroupings = []string{"ResourceGroupName", "ServiceName", "ResourceLocation", "ResourceType", "MeterCategory"}
)

func (q *request) checkCosts() error {
	for key, allowed := range map[string][]string{"timeframe": timeframes, "granularity": granularities, "groupBy": costGroupings} {
		if err := checkOneOf(q.query, key, allowed...); err != nil {
			return err
		}
	}
	if n := len(q.query["groupBy"]); n > 2 {
		return host.E(host.Invalid, name, "groupBy may be given at most twice")
	}
	custom := q.query.Get("timeframe") == "Custom"
	from, err1 := time.Parse(day, q.query.Get("from"))
	to, err2 := time.Parse(day, q.query.Get("to"))
	switch {
	case !q.query.Has("timeframe"):
		return host.E(host.Invalid, name, "timeframe must be one of %s", strings.Join(timeframes, ", "))
	case !custom && (q.query.Has("from") || q.query.Has("to")):
		return host.E(host.Invalid, name, "from and to require the timeframe Custom")
	case custom && (err1 != nil || err2 != nil || to.Before(from) || to.Sub(from) > maxCostDays*24*time.Hour):
		return host.E(host.Invalid, name, "from and to must be two days, YYYY-MM-DD, at most %d days apart", maxCostDays)
	}
	return nil
}

// The request of the cost service (Cost Management, Query - Usage).
type (
	costDefinition struct {
		Type       string      `json:"type"`
		Timeframe  string      `json:"timeframe"`
		TimePeriod *costPeriod `json:"timePeriod,omitempty"`
		Dataset    costDataset `json:"dataset"`
	}
	costPeriod struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
	costDataset struct {
		Granularity string                    `json:"granularity"`
		Aggregation map[string]costExpression `json:"aggregation"`
		Grouping    []costExpression          `json:"grouping,omitempty"`
		Filter      *costFilter               `json:"filter,omitempty"`
	}
	costExpression struct {
		Type     string `json:"type,omitempty"`
		Name     string `json:"name"`
		Function string `json:"function,omitempty"`
	}
	costFilter struct {
		Dimensions costComparison `json:"dimensions"`
	}
	costComparison struct {
		Name     string   `json:"name"`
		Operator string   `json:"operator"`
		Values   []string `json:"values"`
	}
)

// definition returns the query, limited to groups unless the list is empty.
func (q *request) definition(groups []string) *costDefinition {
	d := &costDefinition{
		Type: "ActualCost", Timeframe: q.query.Get("timeframe"),
		Dataset: costDataset{
			Granularity: q.query.Get("granularity"),
			Aggregation: map[string]costExpression{"totalCost": {Name: "Cost", Function: "Sum"}},
		},
	}
	if d.Dataset.Granularity == "" {
		d.Dataset.Granularity = "None"
	}
	if d.Timeframe == "Custom" {
		d.TimePeriod = &costPeriod{From: q.query.Get("from") + "T00:00:00Z", To: q.query.Get("to") + "T23:59:59Z"}
	}
	for _, g := range q.query["groupBy"] {
		d.Dataset.Grouping = append(d.Dataset.Grouping, costExpression{Type: "Dimension", Name: g})
	}
	if len(groups) > 0 {
		d.Dataset.Filter = &costFilter{costComparison{"ResourceGroupName", "In", groups}}
	}
	return d
}

type costTable struct {
	Columns   []json.RawMessage   `json:"columns"`
	Rows      [][]json.RawMessage `json:"rows"`
	Truncated bool                `json:"truncated,omitempty"`
}

// costs queries the costs of one group, or of all groups that the narrowing permits.
func (s *session) costs(ctx context.Context, q *request, within capability.Narrowing) (*abi.Response, error) {
	table := &costTable{Columns: []json.RawMessage{}, Rows: [][]json.RawMessage{}}
	narrowed := q.group == "" && !within.All()
	var groups []string
	if narrowed {
		var err error
		if groups, err = s.costGroups(ctx, within); err != nil {
			return nil, err
		}
		if len(groups) == 0 {
			return reply(table)
		}
	}
	body, err := json.Marshal(q.definition(groups))
	if err != nil {
		return nil, err
	}
	first := s.url(q.wire(q.names), q.costQuery())
	next := first
	for range maxPages {
		a, err := s.do(ctx, http.MethodPost, next, body)
		if err != nil {
			return nil, err
		}
		var result struct {
			Properties struct {
				costTable
				NextLink string `json:"nextLink"`
			} `json:"properties"`
		}
		if err := json.Unmarshal(a.body, &result); err != nil {
			return nil, &host.Error{Kind: host.Upstream, Op: name, Message: "Azure's answer is not a table of costs", Detail: s.trace(""), Err: err}
		}
		p := &result.Properties
		if p.Columns != nil {
			table.Columns = p.Columns
		}
		table.Rows = append(table.Rows, p.Rows...)
		if p.NextLink == "" {
			return reply(table)
		}
		if len(table.Rows) > maxCostRows {
			break
		}
		if next, err = s.following(first, p.NextLink); err != nil {
			return nil, err
		}
	}
	table.Truncated = true
	return reply(table)
}

func (q *request) costQuery() map[string][]string {
	return map[string][]string{"api-version": {q.version}}
}

// costGroups returns the groups to which the query is limited.
func (s *session) costGroups(ctx context.Context, within capability.Narrowing) ([]string, error) {
	groups, ok := within.Names(validGroup)
	if !ok {
		all, err := s.groups(ctx)
		if err != nil {
			return nil, err
		}
		groups = within.Among(all)
	}
	if len(groups) > maxCostGroups {
		return nil, host.E(host.Unprocessable, name, "the query covers over %d resource groups; name one", maxCostGroups)
	}
	return groups, nil
}

// groups returns the names of all resource groups, in lower case.
func (s *session) groups(ctx context.Context) ([]string, error) {
	var q request
	for i := range operations {
		if operations[i].kind == resourceGroups {
			q.operation = &operations[i]
		}
	}
	c := newCollector(1)
	if err := s.pages(ctx, c, 0, q.wire(nil), &q, nil); err != nil {
		return nil, err
	}
	var out []string
	for _, item := range c.listing().Value {
		var group struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(item, &group) != nil {
			continue
		}
		if name, ok := lowerGroup(group.Name); ok {
			out = append(out, name)
		}
	}
	return out, nil
}
