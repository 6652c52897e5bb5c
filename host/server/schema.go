package server

import _ "embed"

// Schema is the JSON Schema (draft 2020-12) of the configuration file. It is
// made of the types that the file is read into and of their comments:
//
//	go test ./host/server -run TestSchemaIsThatOfTheTypes -update
//
//go:embed config.schema.json
var Schema []byte
