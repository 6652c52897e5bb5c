package sdk

import (
	"encoding/json"
	"reflect"

	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/jsonscan"
)

// WarmJSON fills the caches of encoding/json, and of the capability clients' decoder, for the
// types of values, by encoding and
// decoding one value of each with all fields set. Call it when the plugin starts (OnStart
// or init): these caches are kept, while caches that a request fills are lost. For a large
// type, filling them takes most of a request's time.
func WarmJSON(values ...any) {
	for _, v := range values {
		filled := reflect.New(reflect.TypeOf(v))
		fill(filled.Elem(), 0)
		// Types that cannot be encoded or decoded are skipped; that only costs time.
		if data, err := json.Marshal(filled.Interface()); err == nil {
			_ = json.Unmarshal(data, reflect.New(reflect.TypeOf(v)).Interface())
			_ = jsonscan.Decode(data, reflect.New(reflect.TypeOf(v)).Interface())
		}
	}
}

const maxDepth = 16 // of types within types; recursive ones have no end

// fill sets every field and gives lists and maps an element.
func fill(v reflect.Value, depth int) {
	if depth > maxDepth || !v.CanSet() && v.Kind() != reflect.Struct {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth+1)
		}
	case reflect.Map:
		if v.Type().Key().Kind() == reflect.String {
			v.Set(reflect.MakeMap(v.Type()))
			value := reflect.New(v.Type().Elem()).Elem()
			fill(value, depth+1)
			v.SetMapIndex(reflect.ValueOf("a").Convert(v.Type().Key()), value)
		}
	case reflect.String:
		v.SetString("a")
	}
}
