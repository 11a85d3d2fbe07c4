" Syntax of kflow; made by tests/golden/editors_test.cpp from the compiler's tables.
if exists("b:current_syntax")
  finish
endif

syn iskeyword @,48-57,_
syn match kflowOption /\<\(api_key\|at_end\|at_most_once\|attempt_timeout\|backoff\|base_url\|bearer\|budget\|cache\|command\|compensate\|concurrency\|confirm\|default\|ensure\|env\|fallback\|guard\|headers\|history\|id\|idempotency_key\|idempotent\|instructions\|jitter\|join\|key\|label\|limit\|max\|max_output_tokens\|max_turns\|members\|mode\|model\|on\|on_cancel\|on_error\|on_failure\|on_max\|parallel_tools\|prompt\|provider\|reask\|reasoning_effort\|retention\|retry\|review\|role\|schedule\|seed\|session\|share_history\|stop\|tags\|temperature\|timeout\|tokens\|tool_options\|tools\|top_p\|undo\|until\|url\|usd\|when_full\|while\)\ze\s*:/
syn keyword kflowDeclaration import const fn secret type retry model mcp agent team tool extern test workflow kflow
syn keyword kflowStatement step let set if else match parallel branch for in as loop try catch finally return fail emit break continue mock run signal expect
syn keyword kflowType bool int uint double string bytes duration timestamp any file secret map
syn keyword kflowConstant true false null
syn match kflowNumber /\<\d\+\(\.\d\+\)\?\([eE][-+]\?\d\+\)\?u\?\>/
syn match kflowNumber /\<0[xX]\x\+u\?\>/
syn match kflowNumber /\<\(\d\+\(ms\|us\|ns\|d\|h\|m\|s\)\)\+\>/
syn match kflowAnnotation /@\h\w*/
syn match kflowEscape /\\./ contained
syn region kflowHole matchgroup=kflowDelimiter start=/${/ end=/}/ contained contains=TOP
syn region kflowString start=/"/ skip=/\\./ end=/"\|$/ contains=kflowEscape,kflowHole
syn region kflowString start=/'/ skip=/\\./ end=/'\|$/ contains=kflowEscape
syn region kflowString start=/"""/ skip=/\\./ end=/"""/ contains=kflowEscape,kflowHole
syn region kflowString start=/\<[rR]"/ end=/"\|$/
syn match kflowComment /\/\/.*$/
syn match kflowDoc /\/\/\/.*$/

hi def link kflowOption Identifier
hi def link kflowDeclaration Keyword
hi def link kflowStatement Statement
hi def link kflowType Type
hi def link kflowConstant Constant
hi def link kflowNumber Number
hi def link kflowAnnotation PreProc
hi def link kflowEscape SpecialChar
hi def link kflowDelimiter Delimiter
hi def link kflowString String
hi def link kflowComment Comment
hi def link kflowDoc SpecialComment

let b:current_syntax = "kflow"
