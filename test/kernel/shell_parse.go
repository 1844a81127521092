package kernel

import (
	"fmt"
	"strings"
)

// The grammar is the part of sh(1) that recordings use: lists with ; && || and newlines,
// pipelines, redirections, quotes, $NAME and $?, for loops, ( ) and { }.

// part is a stretch of a word: text, or the name of a variable.
type part struct {
	text     string
	variable bool
	quoted   bool // not split into words, and no keyword
}

// token is a word or, with op set, an operator.
type token struct {
	op    string
	parts []part
}

// plain is a token's text if no quote and no variable is in it.
func (t token) plain() string {
	if t.op != "" || len(t.parts) != 1 || t.parts[0].quoted || t.parts[0].variable {
		return ""
	}
	return t.parts[0].text
}

// operators, the longer before those they begin with.
var operators = []string{"2>&1", "1>&2", ">&2", "2>>", "2>", "1>", ">>", "&&", "||", ">", "<", ";", "|", "(", ")", "\n"}

// lex cuts a line into tokens.
func lex(line string) (tokens []token, err error) {
	var word []part
	inWord := false
	end := func() {
		if inWord {
			tokens, word, inWord = append(tokens, token{parts: word}), nil, false
		}
	}
	add := func(p part) { word, inWord = append(word, p), true }
next:
	for s := line; s != ""; {
		if strings.HasPrefix(s, "<<") {
			end()
			if s, err = lexHere(s[2:], &tokens); err != nil {
				return nil, err
			}
			continue
		}
		for _, op := range operators {
			if strings.HasPrefix(s, op) && (!inWord || op[0] != '1' && op[0] != '2') {
				end()
				tokens, s = append(tokens, token{op: op}), s[len(op):]
				continue next
			}
		}
		switch c := s[0]; {
		case c == ' ' || c == '\t':
			end()
			s = s[1:]
		case c == '#' && !inWord:
			_, after, _ := strings.Cut(s, "\n")
			s = "\n" + after
		case c == '\'':
			text, rest, ok := strings.Cut(s[1:], "'")
			if !ok {
				return nil, fmt.Errorf("a quote is not closed")
			}
			add(part{text: text, quoted: true})
			s = rest
		case c == '"':
			if s, err = lexDouble(s[1:], add); err != nil {
				return nil, err
			}
		case c == '\\' && len(s) > 1:
			add(part{text: s[1:2], quoted: true})
			s = s[2:]
		case c == '$':
			p, rest, err := lexVariable(s, false)
			if err != nil {
				return nil, err
			}
			add(p)
			s = rest
		case c == '`' || c == '&' || c == '*' || c == '?' || c == '~' && !inWord:
			return nil, fmt.Errorf("%c is not replayed", c)
		default:
			n := 1
			for n < len(s) && !strings.ContainsRune(" \t\n'\"\\$`&;|<>()*?", rune(s[n])) {
				n++
			}
			add(part{text: s[:n]})
			s = s[n:]
		}
	}
	end()
	return tokens, nil
}

// lexHere takes a here document, whose text becomes one quoted word, and gives back the
// line without it. s begins after "<<". Variables are not replayed in it.
func lexHere(s string, tokens *[]token) (rest string, err error) {
	s = strings.TrimLeft(s, " ")
	n := strings.IndexAny(s, " ;|&>\n")
	if n < 0 {
		return "", fmt.Errorf("a here document is not replayed here")
	}
	word := strings.Trim(s[:n], `'"`)
	line, body, _ := strings.Cut(s[n:], "\n")
	var text strings.Builder
	for l := range strings.Lines(body) {
		body = body[len(l):]
		if strings.TrimSuffix(l, "\n") == word {
			if word == s[:n] && strings.ContainsAny(text.String(), "$`\\") {
				return "", fmt.Errorf("what this here document holds is not replayed")
			}
			*tokens = append(*tokens, token{op: "<<"}, token{parts: []part{{text: text.String(), quoted: true}}})
			return line + "\n" + body, nil
		}
		text.WriteString(l)
	}
	return "", fmt.Errorf("the here document %s does not end", word)
}

// lexDouble takes what is in double quotes; s begins after the first.
func lexDouble(s string, add func(part)) (rest string, err error) {
	add(part{quoted: true}) // "" is a word
	for s != "" {
		switch {
		case s[0] == '"':
			return s[1:], nil
		case s[0] == '`':
			return "", fmt.Errorf("` is not replayed")
		case s[0] == '\\' && len(s) > 1 && strings.ContainsRune("\"\\$`", rune(s[1])):
			add(part{text: s[1:2], quoted: true})
			s = s[2:]
		case s[0] == '$':
			var p part
			if p, s, err = lexVariable(s, true); err != nil {
				return "", err
			}
			add(p)
		default:
			add(part{text: s[:1], quoted: true})
			s = s[1:]
		}
	}
	return "", fmt.Errorf("a quote is not closed")
}

// lexVariable takes $NAME, ${NAME} or $? from the front of s.
func lexVariable(s string, quoted bool) (p part, rest string, err error) {
	name := s[1:]
	switch {
	case strings.HasPrefix(name, "?"):
		return part{"?", true, quoted}, name[1:], nil
	case strings.HasPrefix(name, "{"):
		inner, rest, ok := strings.Cut(name[1:], "}")
		if !ok || inner == "" || nameLen(inner) != len(inner) {
			return p, "", fmt.Errorf("%s is not replayed", s)
		}
		return part{inner, true, quoted}, rest, nil
	}
	n := nameLen(name)
	if n == 0 {
		return p, "", fmt.Errorf("%s is not replayed", s)
	}
	return part{name[:n], true, quoted}, name[n:], nil
}

// nameLen is the length of the variable name that s begins with.
func nameLen(s string) int {
	n := 0
	for n < len(s) && (s[n] == '_' || s[n]|0x20 >= 'a' && s[n]|0x20 <= 'z' || n > 0 && s[n] >= '0' && s[n] <= '9') {
		n++
	}
	return n
}

// node is a piece of a line that can be run.
type node interface {
	run(*shell, stdio) (rc int, err error)
}

type (
	sequence []struct { // commands, each with what stands before it: ";", "&&" or "||"
		before string
		node
	}
	pipeline []node
	simple   struct {
		words     []token
		redirects []redirect
	}
	loop struct {
		variable string
		words    []token
		body     node
	}
)

type redirect struct {
	op   string
	file token
}

// parser reads tokens.
type parser struct{ tokens []token }

func parseShell(line string) (node, error) {
	tokens, err := lex(line)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens}
	n, err := p.sequence()
	if err == nil && len(p.tokens) > 0 {
		err = fmt.Errorf("%v is not replayed here", p.tokens[0])
	}
	return n, err
}

func (p *parser) peek() token {
	if len(p.tokens) == 0 {
		return token{op: "end"}
	}
	return p.tokens[0]
}

func (p *parser) next() token {
	t := p.peek()
	p.tokens = p.tokens[min(1, len(p.tokens)):]
	return t
}

// take takes the next token if it is the operator or keyword named.
func (p *parser) take(what string) bool {
	if t := p.peek(); t.op == what || t.plain() == what {
		p.next()
		return true
	}
	return false
}

func (p *parser) sequence() (node, error) {
	var list sequence
	before := ";"
	for {
		for p.take(";") || p.take("\n") {
		}
		if t := p.peek(); t.op == "end" || t.op == ")" || t.plain() == "done" || t.plain() == "}" {
			return list, nil
		}
		n, err := p.pipeline()
		if err != nil {
			return nil, err
		}
		list = append(list, struct {
			before string
			node
		}{before, n})
		switch {
		case p.take("&&"):
			before = "&&"
		case p.take("||"):
			before = "||"
		default:
			before = ";"
		}
	}
}

func (p *parser) pipeline() (node, error) {
	var stages pipeline
	for {
		n, err := p.command()
		if err != nil {
			return nil, err
		}
		if stages = append(stages, n); !p.take("|") {
			return stages, nil
		}
	}
}

func (p *parser) command() (node, error) {
	switch {
	case p.take("for"):
		return p.loop()
	case p.take("("):
		return p.group(")")
	case p.take("{"):
		return p.group("}")
	}
	var c simple
	for {
		switch t := p.peek(); t.op {
		case "":
			c.words = append(c.words, p.next())
		case "2>&1", "1>&2", ">&2":
			c.redirects = append(c.redirects, redirect{op: p.next().op})
		case "2>>", "2>", "1>", ">>", ">", "<", "<<":
			p.next()
			if p.peek().op != "" {
				return nil, fmt.Errorf("%s without a file", t.op)
			}
			c.redirects = append(c.redirects, redirect{t.op, p.next()})
		default:
			if len(c.words)+len(c.redirects) == 0 {
				return nil, fmt.Errorf("%q is not replayed here", t.op)
			}
			return c, nil
		}
	}
}

func (p *parser) group(end string) (node, error) {
	n, err := p.sequence()
	if err == nil && !p.take(end) {
		err = fmt.Errorf("%s is missing", end)
	}
	return n, err
}

func (p *parser) loop() (node, error) {
	l := loop{variable: p.next().plain()}
	if l.variable == "" || !p.take("in") {
		return nil, fmt.Errorf("this for loop is not replayed")
	}
	for p.peek().op == "" {
		l.words = append(l.words, p.next())
	}
	for p.take(";") || p.take("\n") {
	}
	if !p.take("do") {
		return nil, fmt.Errorf("for without do")
	}
	var err error
	l.body, err = p.group("done")
	return l, err
}
