package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/ipvsadm"
)

// ImportRules reads rules in ipvsadm's words, one command a line, as ipvsadm -Sn and
// ipvsadm-save -n print them, and returns the state they lead to from an empty table. All
// commands that change the table or the timeouts are obeyed in the order written, which
// decides between equals later. Empty lines and those that begin with # are passed over.
// The error names name and the line of each mistake; the state is nil then.
func ImportRules(name string, r io.Reader) (*conf.Config, error) {
	edit := conf.NewEditor(conf.Default())
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxCommandLine)
	var all error
	line := 0
	for in.Scan() {
		line++
		words := strings.Fields(in.Text())
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if err := importRule(edit, words); err != nil {
			all = errors.Join(all, fmt.Errorf("%s:%d: %w", name, line, err))
		}
	}
	if in.Err() != nil {
		all = errors.Join(all, fmt.Errorf("%s:%d: %w", name, line+1, in.Err()))
	}
	if all != nil {
		return nil, all
	}
	cfg, err := edit.Config()
	if err != nil {
		return nil, fmt.Errorf("%s: the rules as a whole: %w", name, err)
	}
	return cfg, nil
}

// importRule makes the change of one line.
func importRule(edit *conf.Editor, words []string) error {
	if path.Base(words[0]) == "ipvsadm" {
		words = words[1:]
	}
	for i, w := range words {
		// ipvsadm prints marks from 2^31 on as negative numbers, which it does not read.
		if n, err := strconv.ParseInt(w, 10, 32); err == nil && n < 0 && i > 0 && (words[i-1] == "-f" || words[i-1] == "--fwmark-service") {
			words[i] = strconv.FormatUint(uint64(uint32(n)), 10)
		}
	}
	cmd, err := ipvsadm.Parse(words, ipvsadm.Env{Restoring: true})
	if err != nil {
		return err
	}
	c, ok := cmd.Change()
	if !ok {
		return fmt.Errorf("%v is no rule; only commands that change services, servers or timeouts can be imported", cmd.Op)
	}
	return edit.Do(c)
}
