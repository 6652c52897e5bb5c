package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

// ofServices are what Kubernetes sets beside Services named bulkhead or
// bulkhead-something.
var ofServices = regexp.MustCompile(`^(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// environment is the variables BULKHEAD_… without that prefix, while fields are set
// from them.
type environment struct {
	left map[string]string // that set nothing yet
	used map[string]string // path of a field: the variable that set it
}

// override sets fields of the struct v from variables; see Read.
func (f *File) override(v reflect.Value, environ []string) error {
	e := environment{map[string]string{}, map[string]string{}}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if key, ok := strings.CutPrefix(name, prefix); ok {
			e.left[key] = value
		}
	}
	err := e.set(v, "", "")
	for key := range e.left {
		if !ofServices.MatchString(key) {
			f.Ignored = append(f.Ignored, prefix+key)
		}
	}
	slices.Sort(f.Ignored)
	f.variables = e.used
	return err
}

const prefix = "BULKHEAD_"

// set sets the fields of a struct at path.
func (e *environment) set(v reflect.Value, key, path string) error {
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			if err := e.set(v.Field(i), key, path); err != nil {
				return err
			}
			continue
		}
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name == "-" || !v.Type().Field(i).IsExported() {
			continue
		}
		key, at, field := key+strings.ToUpper(name), join(path, name), v.Field(i)
		if text, ok := e.left[key]; ok {
			delete(e.left, key)
			e.used[at] = prefix + key
			if err := set(field, text); err != nil {
				return &Problem{prefix + key, err}
			}
			continue
		}
		if err := e.inner(field, key+"_", at); err != nil {
			return err
		}
	}
	return nil
}

// inner sets the fields of a struct, or of one that the file left out.
func (e *environment) inner(field reflect.Value, key, path string) error {
	if field.Kind() == reflect.Struct {
		return e.set(field, key, path)
	}
	if field.Kind() != reflect.Pointer || field.Type().Elem().Kind() != reflect.Struct {
		return nil
	}
	fresh := reflect.New(field.Type().Elem())
	if !field.IsNil() {
		fresh.Elem().Set(field.Elem())
	}
	before := fresh.Elem().Interface()
	if err := e.set(fresh.Elem(), key, path); err != nil {
		return err
	}
	if !reflect.DeepEqual(before, fresh.Elem().Interface()) {
		field.Set(fresh)
	}
	return nil
}

// set reads text, which is YAML unless the field is a string.
func set(field reflect.Value, text string) error {
	if field.Kind() == reflect.String {
		field.SetString(text)
		return nil
	}
	fresh := reflect.New(field.Type())
	if err := strictyaml.Unmarshal([]byte(text), fresh.Interface(), strictyaml.Small); err != nil {
		return err
	}
	field.Set(fresh.Elem())
	return nil
}
