package api

// ConfigDiff is the answer to GET /v1/config/diff: what a reload would do, and what
// commands did.
type ConfigDiff struct {
	File      string    `json:"file"` // that a reload reads
	Changes   []Planned `json:"changes"`
	Conflicts []string  `json:"conflicts"`
	Refused   string    `json:"refused,omitempty"` // why a reload would do nothing; "" if it would not refuse
	Commands  []string  `json:"commands"`          // what commands changed against the file as last loaded
}

// Planned is a change that a reload would make.
type Planned struct {
	Change string `json:"change"`
	// Connections are the live ones that belong to what is removed or served by another
	// method from then on; Effect says what becomes of them.
	Connections int    `json:"connections,omitempty"`
	Effect      string `json:"effect,omitempty"`
}

// Saved is the answer to POST /v1/config/save.
type Saved struct {
	File string `json:"file"`
}
