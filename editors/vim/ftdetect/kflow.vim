autocmd BufRead,BufNewFile *.kflow setfiletype kflow
