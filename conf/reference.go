package conf

import _ "embed"

//go:embed reference.toml
var reference string

// Reference is a valid file that has every key of the language, each with what it
// means and its default.
func Reference() string { return reference }
