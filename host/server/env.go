package server

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// ofServices are what Kubernetes sets beside Services named bulkhead or
// bulkhead-something.
var ofServices = regexp.MustCompile(`^(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// override sets fields from variables BULKHEAD_…; see Load. Names that are no
// key go to c.Ignored.
func override(c *Config, environ []string) error {
	vars := map[string]string{}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if key, ok := strings.CutPrefix(name, "BULKHEAD_"); ok {
			vars[key] = value
		}
	}
	err := overrideStruct(reflect.ValueOf(c).Elem(), "", vars)
	for key := range vars {
		if !ofServices.MatchString(key) {
			c.Ignored = append(c.Ignored, "BULKHEAD_"+key)
		}
	}
	slices.Sort(c.Ignored)
	return err
}

// overrideStruct takes what it uses out of vars.

func overrideStruct(v reflect.Value, prefix string, vars map[string]string) error {
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			if err := overrideStruct(v.Field(i), prefix, vars); err != nil {
				return err
			}
			continue
		}
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		key, field := prefix+strings.ToUpper(name), v.Field(i)
		if text, ok := vars[key]; ok {
			delete(vars, key)
			if err := set(field, text); err != nil {
				return fmt.Errorf("BULKHEAD_%s: %w", key, err)
			}
			continue
		}
		if err := overrideInner(field, key+"_", vars); err != nil {
			return err
		}
	}
	return nil
}

// overrideInner sets the fields of a struct, or of one that the file left out.
func overrideInner(field reflect.Value, prefix string, vars map[string]string) error {
	if field.Kind() == reflect.Struct {
		return overrideStruct(field, prefix, vars)
	}
	if field.Kind() != reflect.Pointer || field.Type().Elem().Kind() != reflect.Struct {
		return nil
	}
	fresh := reflect.New(field.Type().Elem())
	if !field.IsNil() {
		fresh.Elem().Set(field.Elem())
	}
	before := fresh.Elem().Interface()
	if err := overrideStruct(fresh.Elem(), prefix, vars); err != nil {
		return err
	}
	if !reflect.DeepEqual(before, fresh.Elem().Interface()) {
		field.Set(fresh)
	}
	return nil
}

func set(field reflect.Value, text string) error {
	if field.Kind() == reflect.String {
		field.SetString(text)
		return nil
	}
	fresh := reflect.New(field.Type())
	if err := decode([]byte(text), fresh.Interface()); err != nil {
		return err
	}
	field.Set(fresh.Elem())
	return nil
}
