package probe

import (
	"bytes"
	"fmt"

	"github.com/dirigo-lb/dirigo/conf"
)

// maxSecret is the most bytes that the first line of a password's file may have.
const maxSecret = 4096

// readSecrets puts what stands in files of their own into p.
func readSecrets(p *conf.Probe) error {
	for _, s := range []struct {
		key, path string
		to        *string
	}{{"password_file", p.PasswordFile, &p.Password}, {"secret_file", p.SecretFile, &p.Secret}} {
		if s.path == "" {
			continue
		}
		line, err := firstLine(s.path)
		if err != nil {
			return fmt.Errorf("%s: %w", s.key, err)
		}
		*s.to = line
	}
	return nil
}

// firstLine is that of a file, without its end. Errors say nothing of what it holds.
func firstLine(path string) (string, error) {
	b, err := head(path, maxSecret+2) // CR LF
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	switch {
	case len(line) == 0:
		return "", fmt.Errorf("the first line of %s is empty", path)
	case len(line) > maxSecret:
		return "", fmt.Errorf("the first line of %s is longer than %d bytes", path, maxSecret)
	}
	return string(line), nil
}
