// Makes the catalogue sortable and filterable; without this script it is still a plain table.
document.addEventListener("DOMContentLoaded", async () => {
  const { default: DataTable } = await window.dataTables;
  new DataTable("table.catalogue", {
    paging: false,
    info: true,
    order: [],
    autoWidth: false,
    language: { search: "Filter:", info: "_TOTAL_ entries", infoFiltered: "of _MAX_", infoEmpty: "No entry fits" },
  });
});
