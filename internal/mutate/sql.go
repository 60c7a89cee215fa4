package main

import (
	"regexp"
	"strings"
)

// A sqlChange is a change of a statement: the whole new literal, and what the list shows.
type sqlChange struct{ text, old, new string }

var (
	// A comparison, a group or subquery in parentheses, or a column that is true or false.
	sqlPredicate = regexp.MustCompile(`(?:(?:NOT )?EXISTS )?\(|[a-z_.]+ (<=|>=|=|<|>) (?:\?|\$\d+|x?'[a-z]*'|\d+|[a-z_.]+)|\([a-z_., ]+\) IN \(|[a-z_]+\.[a-z_]+`)
	// What comes before a predicate. An assignment of SET is not one.
	sqlBefore = regexp.MustCompile(`(WHERE|WHEN|AND|OR|\()\s*$`)
	sqlTail   = regexp.MustCompile(` FOR UPDATE(?: SKIP LOCKED)?| SKIP LOCKED| ORDER BY [a-z_]+`)
)

// sqlChanges drops each predicate of a statement, moves or inverts its comparison, and leaves out
// locks and orders. A dropped predicate stays in the text, in a condition that is always true, or
// always false in a disjunction, so that the placeholders still fit.
func sqlChanges(literal string) (changes []sqlChange) {
	change := func(start, end int, by, old, new string) {
		changes = append(changes, sqlChange{literal[:start] + by + literal[end:], old, new})
	}
	for from := 0; ; {
		at := sqlPredicate.FindStringSubmatchIndex(literal[from:])
		if at == nil {
			break
		}
		start, end := from+at[0], from+at[1]
		group := literal[end-1] == '('
		operator := literal[start:start]
		if at[2] >= 0 {
			operator = literal[from+at[2] : from+at[3]]
		}
		place := from + at[2]
		if from = end; group {
			end = closing(literal, end)
		}
		before := sqlBefore.FindStringSubmatch(literal[:start])
		if before == nil || (group || operator == "") && before[1] == "(" {
			continue
		}
		text := literal[start:end]
		if before[1] == "OR" || strings.HasPrefix(literal[end:], " OR ") {
			change(start, end, "("+text+" AND 1 = 0)", "OR "+text, "nothing")
		} else {
			change(start, end, "("+text+" OR 1 = 1)", "AND "+text, "nothing")
		}
		for _, other := range map[string][]string{"<": {"<=", ">"}, "<=": {"<", ">="}, ">": {">=", "<"}, ">=": {">", "<="}}[operator] {
			after := place + len(operator)
			change(place, after, other, text, literal[start:place]+other+literal[after:end])
		}
	}
	for _, at := range sqlTail.FindAllStringIndex(literal, -1) {
		text := literal[at[0]:at[1]]
		change(at[0], at[1], "", text, "nothing")
		if kept, ok := strings.CutSuffix(text, " SKIP LOCKED"); ok && kept != "" {
			change(at[0], at[1], kept, text, kept)
		}
	}
	return changes
}

// closing returns the end of the parenthesis that was opened before start.
func closing(text string, start int) int {
	depth := 1
	for i := start; i < len(text); i++ {
		switch text[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}
