package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What run is asked for and cannot do is refused before anything is touched.
func TestRunRefusesWhatItCannotDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dirigo.toml")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for words, args := range map[string][]string{
		`--log "xml": want text or json`:                      {"--log", "xml"},
		`--log-level "loud": want debug, info, warn or error`: {"--log-level", "loud"},
		`a director serves a socket; write an absolute path`:  {"--control", "https://10.0.0.5:9443"},
		`no [[port]]: there is nothing to receive from`:       nil,
		`everybody who reaches 127.0.0.1:9443`:                {"-c", openAPIFile(t)},
	} {
		if out, err := dirigo(t, "", append([]string{"run", "-c", file}, args...)...); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("run %q: %v %s; want %q", args, err, out, words)
		}
	}
	if out, err := dirigo(t, "", "check", "-c", openAPIFile(t)); err == nil || !strings.Contains(err.Error(), "everybody who reaches 127.0.0.1:9443") {
		t.Errorf("check of an API without a token: %v %s", err, out)
	}
}

// openAPIFile is a configuration whose API would be everybody's.
func openAPIFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "open.toml")
	if err := os.WriteFile(file, []byte("[api]\nlisten = \"127.0.0.1:9443\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLogLevels(t *testing.T) {
	for word, least := range logLevels {
		for _, format := range []string{"text", "json"} {
			log, err := logger(format, word)
			if err != nil {
				t.Fatal(err)
			}
			for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
				if got := log.Enabled(context.Background(), level); got != (level >= least) {
					t.Errorf("--log %s --log-level %s: %v is logged: %v", format, word, level, got)
				}
			}
		}
	}
}
