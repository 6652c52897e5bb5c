package sdk

import (
	"encoding/json"
	"reflect"
)

// WarmJSON lets encoding/json get to know the types of values, by writing and
// reading one of each that has something in every field. Call it when the
// plugin starts (OnStart, or init): what is learnt there is kept, while a
// request learns each type again. For a large type that is most of the request's
// time.
func WarmJSON(values ...any) {
	for _, v := range values {
		filled := reflect.New(reflect.TypeOf(v))
		fill(filled.Elem(), 0)
		// Types that cannot be written, or read, are not warmed: nothing depends on it.
		if data, err := json.Marshal(filled.Interface()); err == nil {
			_ = json.Unmarshal(data, reflect.New(reflect.TypeOf(v)).Interface())
		}
	}
}

const maxDepth = 16 // of types within types; recursive ones have no end

// fill puts something into everything that can hold more.
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
