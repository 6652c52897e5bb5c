package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

// otlp sends records as OpenTelemetry logs, OTLP/HTTP with Protocol Buffers
// (opentelemetry.io/docs/specs/otlp).
type otlp struct {
	*server
	stream *Stream
}

const protobuf = "application/x-protobuf"

func (s otlp) Write(ctx context.Context, records []map[string]any) error {
	scope := &logs.ScopeLogs{Scope: &common.InstrumentationScope{Name: s.stream.Scope}}
	for _, r := range records {
		scope.LogRecords = append(scope.LogRecords, s.stream.logRecord(r, time.Now()))
	}
	body, err := proto.Marshal(&collector.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{
		Resource: resourceOf(records[0]), ScopeLogs: []*logs.ScopeLogs{scope},
	}}})
	if err != nil {
		return &refused{records: len(records), whole: true, err: err}
	}
	header, answer, err := s.send(ctx, protobuf, body, len(records))
	if err != nil || header.Get("Content-Type") != protobuf {
		return err // an answer of another type has no more information
	}
	var told collector.ExportLogsServiceResponse
	if err := proto.Unmarshal(answer, &told); err != nil {
		return errors.New("the server answers with success, but the body is not an ExportLogsServiceResponse")
	}
	if n := told.GetPartialSuccess().GetRejectedLogRecords(); n > 0 {
		return &refused{records: int(min(n, int64(len(records)))), err: errors.New(text.Line(told.PartialSuccess.ErrorMessage, maxQuoted))}
	}
	return nil
}

// resourceOf returns the OpenTelemetry resource of this host. The labels are the same in
// all records.
func resourceOf(record map[string]any) *resource.Resource {
	labels, _ := record["labels"].(map[string]any)
	of := map[string]any{"service.name": "bulkhead"}
	if id, ok := labels["id"]; ok {
		of["service.instance.id"] = id
	}
	maps.Copy(of, labels)
	return &resource.Resource{Attributes: keyValues(of)}
}

// logRecord returns the log record. Its severity is INFO whatever the decision: a refusal
// is normal operation.
func (s *Stream) logRecord(r map[string]any, now time.Time) *logs.LogRecord {
	l := &logs.LogRecord{
		ObservedTimeUnixNano: uint64(now.UnixNano()), EventName: s.Event, Body: anyValue(r),
		SeverityNumber: logs.SeverityNumber_SEVERITY_NUMBER_INFO, SeverityText: "INFO",
	}
	for _, key := range []string{"time", "timestamp"} { // of the audit, of decisions
		if stamp, _ := r[key].(string); stamp != "" {
			if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
				l.TimeUnixNano = uint64(at.UnixNano())
			}
		}
	}
	for _, a := range s.Attributes {
		if v := at(r, a.Path); v != nil {
			l.Attributes = append(l.Attributes, &common.KeyValue{Key: a.Key, Value: anyValue(v)})
		}
	}
	return l
}

// at returns the value at path in v, or nil.
func at(v any, path []string) any {
	for _, key := range path {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	return v
}

func keyValues(object map[string]any) []*common.KeyValue {
	list := make([]*common.KeyValue, 0, len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		list = append(list, &common.KeyValue{Key: valid(key), Value: anyValue(object[key])})
	}
	return list
}

// anyValue converts a JSON value. null becomes the empty AnyValue.
func anyValue(v any) *common.AnyValue {
	switch v := v.(type) {
	case nil:
		return &common.AnyValue{}
	case string:
		return str(v)
	case bool:
		return &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: v}}
	case int64:
		return integer(v)
	case uint64:
		return integer(int64(v))
	case float64:
		return double(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return integer(n)
		}
		f, err := v.Float64()
		if err != nil {
			return str(v.String())
		}
		return double(f)
	case map[string]any:
		return &common.AnyValue{Value: &common.AnyValue_KvlistValue{KvlistValue: &common.KeyValueList{Values: keyValues(v)}}}
	case []any:
		list := &common.ArrayValue{}
		for _, x := range v {
			list.Values = append(list.Values, anyValue(x))
		}
		return &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: list}}
	}
	return str(fmt.Sprint(v))
}

func integer(n int64) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: n}}
}

func double(f float64) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_DoubleValue{DoubleValue: f}}
}

func str(s string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: valid(s)}}
}

// valid returns s as valid UTF-8, as JSON does: one invalid string, for example from a
// path, would make the server refuse the whole message.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
