package mailer

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// maxColumns is the width of prose: the 78 of RFC 5322 section 2.1.1 less the "> " of a reply.
const maxColumns = 76

// layOut gives a text part its final form: no space at the end of a line, no two empty lines in a
// row, prose wrapped, one line feed at the end.
func layOut(text string) string {
	var b strings.Builder
	b.Grow(len(text) + 1)
	empty := false // empty lines precede this one, and do not begin the text
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(line, " \t\r")
		if line == "" {
			empty = b.Len() > 0
			continue
		}
		if empty {
			b.WriteByte('\n')
		}
		empty = false
		wrap(&b, line)
	}
	if b.Len() == 0 {
		return "\n"
	}
	return b.String()
}

// wrap writes line, broken at spaces where it is too wide. A line that begins with a space is
// written as it is, and so is a word that is too wide.
func wrap(b *strings.Builder, line string) {
	if strings.HasPrefix(line, " ") || columns(line) <= maxColumns {
		b.WriteString(line)
		b.WriteByte('\n')
		return
	}
	used := 0
	for word := range strings.SplitSeq(line, " ") {
		n := columns(word)
		switch {
		case used == 0:
		case used+1+n > maxColumns:
			b.WriteByte('\n')
			used = 0
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += n
	}
	b.WriteByte('\n')
}

func columns(s string) (n int) {
	for _, r := range s {
		n++
		if r < utf8.RuneSelf {
			continue
		}
		if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
			n++
		}
	}
	return n
}
