" Settings for kflow files.
setlocal expandtab shiftwidth=2 softtabstop=2 textwidth=100
setlocal commentstring=//\ %s comments=:///,://
setlocal cindent cinoptions=J1,j1,(2,m1
setlocal equalprg=kflowc\ fmt\ -
