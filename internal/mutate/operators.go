package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strconv"
	"strings"
)

// A mutant is one change of one file.
type mutant struct {
	file     string // relative to the root of the module, with slashes
	scope    string // the function, variable or constant that it is in
	operator string
	old, new string // what is changed, white space collapsed
	nth      int    // among the same changes of the same scope, from 1

	start, end int    // the bytes of the file that are replaced
	text       string // what replaces them
	decl       ast.Node
}

// key names a mutant in a way that survives edits elsewhere in its file.
func (m *mutant) key() string {
	key := fmt.Sprintf("%s | %s | %s | %s → %s", m.file, m.scope, m.operator, m.old, m.new)
	if m.nth > 1 {
		key += fmt.Sprintf(" #%d", m.nth)
	}
	return key
}

// place names the function, variable or constant that m is in.
func (m *mutant) place() string { return m.file + " | " + m.scope }

// A source is a file and the mutants that were found in it.
type source struct {
	file  string
	src   []byte
	fset  *token.FileSet
	found []*mutant

	scope string
	decl  ast.Node
	seen  map[string]int
}

// mutantsOf applies every operator wherever it can be applied.
func mutantsOf(file string, src []byte) (*source, error) {
	s := &source{file: file, src: src, fset: token.NewFileSet(), seen: map[string]int{}}
	f, err := parser.ParseFile(s.fset, file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			s.scope, s.decl = d.Name.Name, d
			if d.Recv != nil {
				s.scope = s.textOf(d.Recv.List[0].Type) + "." + d.Name.Name
			}
			s.walk(d.Body, d.Type)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok && len(v.Values) > 0 {
					s.scope, s.decl = v.Names[0].Name, v
					if d.Tok == token.CONST || len(v.Names) > 1 {
						s.decl = nil // no variable that a copy could be assigned to
					}
					for _, value := range v.Values {
						s.walk(value, nil)
					}
				}
			}
		}
	}
	return s, nil
}

func (s *source) offset(p token.Pos) int { return s.fset.Position(p).Offset }

func (s *source) textOf(n ast.Node) string { return string(s.src[s.offset(n.Pos()):s.offset(n.End())]) }

// replace notes a mutant: text in place of n. The list shows old and new.
func (s *source) replace(n ast.Node, operator, text, old, new string) {
	s.replaceAt(s.offset(n.Pos()), s.offset(n.End()), operator, text, old, new)
}

func (s *source) replaceAt(start, end int, operator, text, old, new string) {
	m := &mutant{file: s.file, scope: s.scope, decl: s.decl, operator: operator, old: short(old), new: short(new),
		nth: 1, start: start, end: end, text: text}
	s.seen[m.key()]++
	m.nth = s.seen[m.key()]
	s.found = append(s.found, m)
}

// short makes one line of a text, of at most 90 characters.
func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > 90 {
		return string(runes[:89]) + "…"
	}
	return text
}

var comparisons = map[token.Token][]string{ // the other side of the boundary, and the opposite
	token.LSS: {"<=", ">="}, token.LEQ: {"<", ">"}, token.GTR: {">=", "<="}, token.GEQ: {">", "<"},
	token.EQL: {"!="}, token.NEQ: {"=="},
}

var arithmetic = map[token.Token]string{
	token.ADD: "-", token.SUB: "+", token.MUL: "/", token.QUO: "*", token.REM: "*", token.SHL: ">>", token.SHR: "<<",
	token.ADD_ASSIGN: "-=", token.SUB_ASSIGN: "+=", token.MUL_ASSIGN: "/=",
	token.AND: "|", token.OR: "&", token.AND_NOT: "&",
}

// walk visits a function, or the value of a variable or constant.
func (s *source) walk(root ast.Node, signature *ast.FuncType) {
	if b, ok := root.(*ast.BlockStmt); ok && b == nil {
		return
	}
	var path []ast.Node
	scope := s.scope
	defer func() { s.scope = scope }()
	ast.Inspect(root, func(n ast.Node) bool {
		if n == nil {
			path = path[:len(path)-1]
			return true
		}
		var parent ast.Node
		if len(path) > 0 {
			parent = path[len(path)-1]
		}
		path = append(path, n)
		if kv, ok := n.(*ast.KeyValueExpr); ok && signature == nil && len(path) == 2 { // a field of a variable
			s.scope = scope + "." + s.textOf(kv.Key)
		}
		if c, ok := parent.(*ast.CallExpr); ok && s.textOf(c.Fun) == "make" && n == c.Args[len(c.Args)-1] && len(c.Args) == 3 {
			path = path[:len(path)-1]
			return false // a capacity: nobody sees it
		}
		s.statement(n, parent)
		s.expression(n)
		if r, ok := n.(*ast.ReturnStmt); ok {
			t := signature
			for _, outer := range path {
				if f, ok := outer.(*ast.FuncLit); ok {
					t = f.Type
				}
			}
			s.returnNil(r, t)
		}
		return true
	})
}

func (s *source) statement(n, parent ast.Node) {
	switch n := n.(type) {
	case *ast.ExprStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt, *ast.BranchStmt, *ast.IncDecStmt:
		s.drop(n, parent)
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			s.drop(n, parent)
		}
		if other, ok := arithmetic[n.Tok]; ok {
			at := s.offset(n.TokPos)
			s.replaceAt(at, at+len(n.Tok.String()), "arithmetic", other, s.textOf(n), s.textOf(n.Lhs[0])+" "+other+" …")
		}
	case *ast.ReturnStmt:
		if len(n.Results) == 0 {
			s.drop(n, parent)
		}
	case *ast.IfStmt:
		s.condition("if", n.Cond)
		if n.Else != nil {
			cond := s.textOf(n.Cond)
			s.replace(n.Cond, "drop", "true || ("+cond+")", "else of if "+cond, "nothing")
		}
	case *ast.ForStmt:
		if n.Cond != nil {
			s.negate(n.Cond)
		}
	case *ast.SwitchStmt:
		if n.Tag == nil {
			for _, clause := range n.Body.List {
				for _, cond := range clause.(*ast.CaseClause).List {
					s.condition("case", cond)
				}
			}
		}
	}
}

// drop leaves out a statement.
func (s *source) drop(n, parent ast.Node) {
	switch p := parent.(type) {
	case *ast.ForStmt: // a loop without its step runs for ever
		if p.Post == n {
			return
		}
	case *ast.CommClause:
		if p.Comm == n {
			return
		}
	}
	s.replace(n, "drop", "", s.textOf(n), "nothing")
}

// condition leaves out what a condition guards, and negates it.
func (s *source) condition(word string, cond ast.Expr) {
	text := s.textOf(cond)
	s.replace(cond, "drop", "false && ("+text+")", word+" "+text, "nothing")
	s.negate(cond)
}

// negate negates a condition, unless another operator does the same.
func (s *source) negate(cond ast.Expr) {
	switch c := cond.(type) {
	case *ast.UnaryExpr:
		return
	case *ast.BinaryExpr:
		if comparisons[c.Op] != nil {
			return
		}
	}
	text := s.textOf(cond)
	s.replace(cond, "negate", "!("+text+")", text, "!("+text+")")
}

func (s *source) expression(n ast.Node) {
	switch n := n.(type) {
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			s.replace(n, "negate", s.textOf(n.X), s.textOf(n), s.textOf(n.X))
		}
	case *ast.BinaryExpr:
		s.binary(n)
	case *ast.Ident:
		if other := map[string]string{"true": "false", "false": "true"}[n.Name]; other != "" {
			s.replace(n, "constant", other, n.Name, other)
		}
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "min" || f.Name == "max") {
			other := map[string]string{"min": "max", "max": "min"}[f.Name]
			s.replace(f, "arithmetic", other, s.textOf(n), other+"(…)")
		}
	case *ast.BasicLit:
		if v, err := strconv.ParseInt(n.Value, 0, 64); n.Kind == token.INT && err == nil {
			s.replace(n, "constant", strconv.FormatInt(v+1, 10), n.Value, strconv.FormatInt(v+1, 10))
			if v > 0 {
				s.replace(n, "constant", strconv.FormatInt(v-1, 10), n.Value, strconv.FormatInt(v-1, 10))
			}
		}
		if n.Kind == token.STRING && path.Base(path.Dir(s.file)) == "sqlstore" {
			for _, c := range sqlChanges(n.Value) {
				s.replace(n, "sql", c.text, c.old, c.new)
			}
		}
	}
}

func (s *source) binary(n *ast.BinaryExpr) {
	x, y := s.textOf(n.X), s.textOf(n.Y)
	swap := func(operator, other string) {
		at := s.offset(n.OpPos)
		s.replaceAt(at, at+len(n.Op.String()), operator, other, s.textOf(n), x+" "+other+" "+y)
	}
	for _, other := range comparisons[n.Op] {
		swap("comparison", other)
	}
	if other, ok := arithmetic[n.Op]; ok {
		swap("arithmetic", other)
	}
	other, neutral := "||", "true || "
	switch n.Op {
	case token.LOR:
		other, neutral = "&&", "false && "
	case token.LAND:
	default:
		return
	}
	swap("and-or", other)
	// Leave out one operand. The left side of a longer chain is a chain itself, whose operands come
	// by themselves.
	if left, ok := n.X.(*ast.BinaryExpr); !ok || left.Op != n.Op {
		s.replace(n.X, "operand", "("+neutral+"("+x+"))", s.textOf(n), "… "+n.Op.String()+" "+y)
	}
	s.replace(n.Y, "operand", "("+neutral+"("+y+"))", s.textOf(n), x+" "+n.Op.String()+" …")
}

// returnNil returns nil instead of an error.
func (s *source) returnNil(r *ast.ReturnStmt, t *ast.FuncType) {
	if t == nil || t.Results == nil || len(r.Results) == 0 || len(r.Results) != t.Results.NumFields() {
		return
	}
	results := t.Results.List
	last := r.Results[len(r.Results)-1]
	if name, ok := results[len(results)-1].Type.(*ast.Ident); !ok || name.Name != "error" || s.textOf(last) == "nil" {
		return
	}
	s.replace(last, "nil error", "nil", "return "+s.textOf(last), "nil")
}
